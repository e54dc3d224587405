"""Every limit that is not a setting: a name, a unit and a reason each. Nothing in the core grows without one.

Limits that users may change are fields of `AgentConfig` and `PlatformConfig`; their defaults stand there.
"""

from __future__ import annotations

from typing import Final

# --- messages (MSG) ---------------------------------------------------------------------------------------------------
MAX_ID_CHARS: Final = 128
"""MSG-3: ids are 1 to 128 characters, so that ledgers stay small whatever a peer invents."""
MAX_JSON_DEPTH: Final = 64
"""MSG-6: deeper nesting is a decode error long before any recursive decoder is in danger."""

MAX_SMALL_PIECES: Final = 1024
PIECE_BYTES: Final = 16
"""MSG-6, PLAT-8: fragments that a message may have, or chunks a body, and one more for every so many bytes of it. Each
costs microseconds, and nobody who sends in pieces makes thousands of them smaller than their headers. MSG-5: bad
messages of a link likewise, and one more for every second."""

# --- HTTP (AUTH-7, PLAT-8) --------------------------------------------------------------------------------------------
MAX_HTTP_HEAD_BYTES: Final = 64 * 1024
"""Start line and headers of one request or response; four times the largest common server default."""
MAX_HTTP_FIELDS: Final = 128
"""Header fields of one request or response, as each costs microseconds: some 16,000 fit in the bytes of a head. People
with proxies in front have twenty or thirty."""
MAX_HTTP_BODY_BYTES: Final = 64 * 1024
"""AUTH-7, PLAT-8: no body of this API comes near; a larger one is an error or an attack."""
MAX_INFORMATIONAL_RESPONSES: Final = 8
"""1xx responses tolerated before the final one, so that a peer cannot keep an exchange busy for nothing."""
TURNED_AWAY_RETRY_AFTER_S: Final = 10
"""PLAT-8: what a platform asks for that has as many connections as it may. No more than an agent waits after a 503 by
itself, so that those who are turned away together keep the jitter of that wait (LINK-4) and do not return together."""
MAX_RETRY_AFTER_S: Final = 3600.0
"""LINK-3: a platform may ask for at most an hour."""

# --- what is stored (PLAT-5) ------------------------------------------------------------------------------------------
MAX_BATCH_BYTES: Final = 512 * 1024
"""Of records that are stored together, unless one is larger: a batch takes a store milliseconds, and a broker has a
limit for a message."""
MAX_UNSTORED_BYTES: Final = 64 * 1024 * 1024
"""Of records that wait for a store. Beyond it new work is refused: a store that is gone must not cost all memory."""
MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Of responses and messages that wait for a store, on all connections. Beyond it new work is refused likewise."""
STORE_RETRY_S: Final = 1.0
"""After a batch could not be stored, it is handed out again."""
STORE_RETRY_AFTER_S: Final = 5
"""What whoever is refused for the store's sake is asked to wait, in whole seconds."""
STORE_FULL_RETRY_AFTER_S: Final = 60
"""The same where a limit of ours is reached: commands end, but hardly within seconds."""
STORE_PATIENCE_S: Final = 5.0
"""How long what waits for a slow store is left in doubt; agents wait about as long for a pong."""
SETTLED_UNSTORED_S: Final = 60.0
"""CMD-1: what the platform has read is stored with the next batch, or after this time. Until then a crash costs a
response that is sent once more."""

# --- authentication (AUTH, TOK) ---------------------------------------------------------------------------------------
MIN_CHALLENGE_CHARS: Final = 16
MAX_CHALLENGE_CHARS: Final = 1024
"""AUTH-2: long enough to be random, short enough not to be a document."""
CHALLENGE_LIFE_S: Final = 300.0
"""AUTH-8: time for a person to touch a hardware key."""
MAX_CONSUMED_CHALLENGES: Final = 100_000
"""AUTH-8: consumed challenges remembered until they expire; beyond it verify answers 503 rather than forget one. Of
these an address may use as many as are left free then: alone half of them, beside another such one a third."""
MAX_TOKEN_BYTES: Final = 16 * 1024
"""TOK-1, TOK-5: capped before anything is decoded."""
MAX_REMEMBERED_TOKENS: Final = 1024
"""TOK-5: verified ones, for agents that come back or make calls do so with the token of before, and verifying it costs
more than all the rest. Only what this platform has made is remembered: 8 MiB of it at most, as ids are short."""
MAX_TOKEN_LIFE_S: Final = 10 * 365.25 * 86400.0
"""TOK-1: a longer life is absurd and read as unknown."""
RENEW_LEAD_S: Final = 300.0
"""TOK-2: a token is renewed when this much of its life is left, the guide's five minutes …"""
RENEW_LEAD_FRACTION: Final = 0.2
"""TOK-2: … or this part of it, if that is shorter: a token of 15 min is not renewed after 10."""
RENEWAL_INTERVAL_S: Final = 10.0
"""TOK-2: renewals lie at least this far apart, however short the tokens' lives are."""
MAX_WAITING_CALLS: Final = 64
"""STAT-2: calls that wait for an answer; they are few, and a caller waits for each."""
MAX_PUBLIC_KEY_BYTES: Final = 16 * 1024
"""An 8192-bit RSA public key line has under 2 KiB."""
MAX_PRIVATE_KEY_BYTES: Final = 64 * 1024
"""AUTH-5: an 8192-bit RSA private key file has under 7 KiB."""
MAX_BCRYPT_ROUNDS: Final = 1024
"""AUTH-5: ten seconds or so; ssh-keygen's default is 24."""
MAX_PBKDF2_ITERATIONS: Final = 10_000_000
"""AUTH-5: seconds; OpenSSL's default is 2048, and some hundred thousand are recommended."""
MAX_SCRYPT_MEMORY_BYTES: Final = 256 * 1024 * 1024
MAX_SCRYPT_PARALLELIZATION: Final = 16
"""AUTH-5: seconds as well, and no more memory than a small computer has; OpenSSL's default takes 16 MiB once."""
BUSY_RETRY_AFTER_S: Final = 60
"""What a platform that can remember no further challenge asks for."""
MAX_RATE_LIMITED: Final = 100_000
"""PLAT-8: addresses, and pairs of address and agent, whose attempts to sign in are counted; some 20 MiB of each,
80 MiB of pairs with the longest ids."""
MAX_CLOSE_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5.1: a control frame has 125 bytes, and two of a close frame's are its code."""
MAX_SIGNATURE_BYTES: Final = 16 * 1024
"""AUTH-3: an RSA key of 8192 bits signs in 1 KiB, 2 KiB as an SSHSIG with the key in it."""
MAX_SSH_AGENT_MESSAGE_BYTES: Final = 256 * 1024
"""AUTH-6: OpenSSH's own limit."""
MIN_RSA_BITS: Final = 2048
"""AUTH-5: shorter keys are no longer taken for secure (NIST SP 800-57)."""
MAX_RSA_BITS: Final = 8192
MAX_RSA_EXPONENT_BITS: Final = 32
"""AUTH-5: anyone may have a platform try sixteen keys (AUTH-8). Each then takes half a millisecond; with twice the bits
of both it is ten times as long."""

# --- links (LINK) -----------------------------------------------------------------------------------------------------
MAX_BACKOFF_S: Final = 120.0
"""LINK-3: two minutes, the guide's cap."""
CUT_LINKS: Final = 3
"""LINK-3: so many links in a row that are cut at one age are no accident."""
MIN_CUT_AGE_S: Final = 2.0
"""LINK-3: a link that ends sooner was closed on purpose, not for being idle."""
MAX_CUT_AGE_S: Final = 60.0
"""LINK-3: pings keep a link from being idle for longer than the usual timeouts, which begin at 60 s."""
IDLE_BEFORE_CUT_S: Final = 1.0
"""LINK-3: a link on which something came so shortly before its end was not idle."""
REPLACED_BACKOFF_S: Final = 10.0
MAX_REPLACED_BACKOFF_S: Final = 3600.0
"""LINK-6: two processes with one agent id must not fight every second."""
REPLACED_RESET_S: Final = 600.0
"""LINK-6: a link that lived this long and ended otherwise shows that the other process is gone."""
LATE_TIMER_S: Final = 1.0
"""LINK-7: a later timer says that this process was held up, so it proves nothing about the peer."""
CLOCK_DRIFT_S: Final = 30.0
"""LINK-7: wall and monotonic clock drifting further apart between two inputs means suspend or a clock change."""
UNANSWERED_PING_S: Final = 120.0
"""LINK-7: a ping that is unanswered for so long costs the link, whatever moves meanwhile. The largest message passes
within it at 9 kB/s; and what comes in does not prove that what goes out is read."""
WRITE_AHEAD_BYTES: Final = 256 * 1024
"""LINK-8: unsent bytes from which what can wait is held back: 2.5 MB/s at a round trip of 100 ms, and 13 s for a
heartbeat behind them at 20 kB/s."""
MAX_UNDRAINED_OUTPUTS: Final = 65_536
"""Outputs a caller may leave undrained before the next input is refused as misuse."""
MAX_WAITING_REPLIES: Final = 256
"""Replies outside the outbox (`overloaded`, `draining`) held while too much is unsent, before reading pauses too."""

# --- commands (CMD) ---------------------------------------------------------------------------------------------------
MAX_COMMAND_TIMEOUT_S: Final = 86_400.0
"""CMD-4: a command that takes longer than a day is better asked for again than waited for."""
DEFAULT_COMMAND_TIMEOUT_S: Final = 300.0
"""CMD-4, the guide's example."""
MAX_QUEUED_COMMAND_BYTES: Final = 16 * 1024 * 1024
"""CMD-5: messages of the commands that wait for a slot, one of them always: as they came, for they are kept whole."""
MAX_SETTLED_COMMANDS: Final = 10_000
"""CMD-1: finished command ids remembered, so that a late repeat does not run twice."""
SETTLED_LIFE_S: Final = 86_400.0
"""CMD-1: as long as a platform keeps a command (CMD-10)."""
MAX_STORED_BODIES_BYTES: Final = 16 * 1024 * 1024
"""CMD-1: finished responses kept for repeats."""
MAX_UNSETTLED_RESPONSES: Final = 10_000
MAX_UNSETTLED_RESPONSE_BYTES: Final = 16 * 1024 * 1024
"""CMD-3: responses that are not settled before commands are refused as `overloaded`. Every command accepted has its
place among the first from then on; the bytes are exceeded by no more than the commands that run and wait then."""
MAX_UNSETTLED_MESSAGES: Final = 1024
MAX_UNSETTLED_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""CMD-3: application messages that are not settled, beside the places reserved for responses."""
SETTLE_WITHOUT_PONG_S: Final = 30.0
"""CMD-3: how long after it has left a response settles on a live link to a peer that has never answered a ping."""
SUDDEN_END_S: Final = 5.0
"""CMD-11: a link that ends so soon after a response went out may have ended of it: what cannot be read is found out
about when it is read."""
MAX_FRUITLESS_LINKS: Final = 3
"""CMD-11: links in a row that end so before one has to do without the response."""
MAX_CAUTIOUS_ITEMS: Final = 1024
"""CMD-11: beginning with one, and doubled each time, so many go out together before caution is over."""
STATUS_INTERVAL_S: Final = 1.0
"""STAT-2, STAT-4: at most one status message a second, the latest wins."""

# --- the platform (PLAT, CMD-10) --------------------------------------------------------------------------------------
MAX_SHOWN_ADDRESS_BYTES: Final = 64
"""PLAT-6: an IPv6 address with its zone fits, and the reason of a close frame has room for it."""
OFFLINE_AFTER_S: Final = 90.0
"""HB-3: three missed heartbeats."""
OVERLOADED_RETRY_S: Final = 1.0
"""CMD-10: how long a line waits after `overloaded` unless an answer comes."""
MAX_REASON_CHARS: Final = 4096
"""CMD-9: of a failed command. A reason is a sentence; a longer one could exceed the limit of messages."""
RETRY_MESSAGE_AFTER_S: Final = 1
"""PLAT-4: what a tenant is told whose message finds too much unsent on the agent's link."""
MAX_COMMAND_NAME_CHARS: Final = 256
MAX_NAME_CHARS: Final = 256
"""PLAT-2, PLAT-4: names of commands, agents, keys and capabilities, which people read."""
MAX_CAPABILITIES: Final = 256
"""PLAT-2: of one agent; people read them, too."""
MAX_COMMAND_EXPIRES_IN_S: Final = 30 * 86_400.0
"""CMD-10: nobody waits longer for an agent to come back."""
MAX_CODE_CHARS: Final = 64
"""CMD-9: kept of the code of a response; its own are shorter."""
MAX_PENDING_COMMANDS: Final = 10_000
MAX_PENDING_COMMAND_BYTES: Final = 64 * 1024 * 1024
"""Unanswered commands kept for one agent, and their arguments; more are refused with 429."""
MAX_ALL_PENDING_COMMAND_BYTES: Final = 1024 * 1024 * 1024
COMMAND_OVERHEAD_BYTES: Final = 2048
"""Those of all agents together, each with what it takes beside its arguments: measured, for the longest of ids."""
MAX_FINISHED_COMMANDS: Final = 100_000
MAX_FINISHED_BYTES: Final = 256 * 1024 * 1024
"""Finished commands kept for look-ups, and what they and their responses hold; the oldest go first."""
MAX_AGENTS: Final = 1_000_000
MAX_AGENT_BYTES: Final = 1024 * 1024 * 1024
AGENT_OVERHEAD_BYTES: Final = 1024
KEY_OVERHEAD_BYTES: Final = 1024
"""Names, capabilities, metadata and keys of all agents together, with what each takes beside that; more are refused,
with 503."""
MAX_KEYS_PER_AGENT: Final = 16
"""AUTH-8: verify tries each of them, so there must be few."""
DEFAULT_PAGE_AGENTS: Final = 50
MAX_PAGE_AGENTS: Final = 100
MAX_PAGE_BYTES: Final = 1024 * 1024
"""PLAT-3: agents and bytes of one page, so that no answer grows with their number. A page ends before its agents take
more, but has at least one; `next` leads on from there."""
MAX_WAIT_S: Final = 60.0
"""PLAT-4: of a long poll, less than proxies commonly allow a response."""
MAX_STREAMS_PER_TENANT: Final = 64
"""PLAT-4: every event goes out on each of them; a further one is refused (429)."""
MAX_WAITING_BYTES: Final = 1024 * 1024
"""PLAT-4: unsent bytes of a listener that does not keep up, above which its stream ends instead of growing."""
KEEP_ALIVE_S: Final = 15.0
"""PLAT-4: silence after which a comment goes out. Proxies wait for a minute, and a client that is gone is noticed."""
LEVEL_BYTES: Final = 16 * 1024
"""LINK-8: written since a driver's last look at what has not left; from here on another look is worth its cost."""
LEVEL_FIRST_LOOK_S: Final = 0.01
LEVEL_LAST_LOOK_S: Final = 1.0
"""LINK-8: while something has not left, the wait for the next look; it doubles from the first value to the last."""
LONGEST_SLEEP_S: Final = 10.0
"""LINK-7: the timers of most event loops stand still while the computer sleeps, so clocks are read this often."""
