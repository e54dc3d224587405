// A platform on Node: http, crypto and the package ws. It authenticates agents by itself; what passes over their links
// is told and ordered as JSON lines:
//   in:  {register, key}: an agent and its public key (PEM); {link, text}; {link, close}
//   out: {link, agent}: a link is open; {link, text}; {link}: it is over
'use strict'

const { createHmac, createPublicKey, randomBytes, timingSafeEqual, verify } = require('node:crypto')
const { createServer } = require('node:http')
const { createInterface } = require('node:readline')
const { WebSocketServer } = require('ws')

const [port, secret] = process.argv.slice(2)
const keys = new Map()
const challenges = new Map()
const links = new Map()
let opened = 0

const tell = (fact) => process.stdout.write(JSON.stringify(fact) + '\n')
const tokenOf = (agent) => createHmac('sha256', secret).update(agent).digest('base64url')

function answer (path, body) {
  if (path === '/api/v1/auth/challenge') {
    const challenge = randomBytes(32).toString('hex')
    challenges.set(challenge, body.agent_id)
    return [200, { challenge, expires_at: new Date(Date.now() + 300e3).toISOString() }]
  }
  if (path !== '/api/v1/auth/verify') return [404, {}]
  const isKnown = challenges.get(body.challenge) === body.agent_id
  challenges.delete(body.challenge)
  if (!isKnown || !isRight(keys.get(body.agent_id), body.challenge, Buffer.from(body.response, 'base64'))) {
    return [401, { valid: false }]
  }
  return [200, { valid: true, token: tokenOf(body.agent_id) }]
}

// An SSH signature blob: string algorithm, string signature (RFC 4253 section 6.6).
function isRight (key, challenge, blob) {
  const size = blob.readUInt32BE()
  const algorithm = blob.toString('latin1', 4, 4 + size)
  const expected = { ed25519: ['ssh-ed25519', null], rsa: ['rsa-sha2-512', 'sha512'] }[key.asymmetricKeyType]
  return algorithm === expected[0] && verify(expected[1], Buffer.from(challenge), key, blob.subarray(8 + size))
}

const server = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const [status, body] = answer(request.url, JSON.parse(Buffer.concat(chunks)))
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
})

const sockets = new WebSocketServer({ noServer: true })

server.on('upgrade', (request, socket, head) => {
  const agent = decodeURIComponent(request.url.slice('/api/v1/ws/agent/'.length))
  const expected = Buffer.from('Bearer ' + tokenOf(agent))
  const given = Buffer.from(request.headers.authorization ?? '')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    return
  }
  sockets.handleUpgrade(request, socket, head, (websocket) => {
    const link = ++opened
    links.set(link, websocket)
    tell({ link, agent })
    websocket.on('message', (data) => tell({ link, text: data.toString() }))
    websocket.on('error', () => {}) // 'close' follows
    websocket.on('close', () => {
      links.delete(link)
      tell({ link })
    })
  })
})

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line)
  if ('register' in order) {
    keys.set(order.register, createPublicKey(order.key))
  } else if ('text' in order) {
    links.get(order.link)?.send(order.text)
  } else {
    links.get(order.link)?.close(order.close)
  }
}).on('close', () => process.exit())

server.listen(Number(port), '127.0.0.1')
