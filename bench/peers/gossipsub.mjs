// js-libp2p gossipsub: messages of 236 bytes, signed and verified by gossipsub itself, between two
// nodes on loopback; not persisted. Arguments: FOLDER COUNT.
import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

if (!Promise.withResolvers) {
  Promise.withResolvers = () => {
    const made = {}
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
    return made
  }
}
const require = createRequire(process.env.BENCH_PEERS + '/')
const load = async name => import(pathToFileURL(resolved(name)))
function resolved (name) {
  const manifest = process.env.BENCH_PEERS + '/node_modules/' + name + '/package.json'
  const entry = require(manifest).exports['.']
  return manifest.replace('package.json', entry.import ?? entry)
}
const { createLibp2p } = await load('libp2p')
const { tcp } = await load('@libp2p/tcp')
const { identify } = await load('@libp2p/identify')
const { gossipsub } = await load('@libp2p/gossipsub')
const { noise } = await load('@chainsafe/libp2p-noise')
const { yamux } = await load('@chainsafe/libp2p-yamux')
const count = Number(process.argv[3])

const node = listen => createLibp2p({
  addresses: { listen },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    pubsub: gossipsub({ allowPublishToZeroTopicPeers: true, floodPublish: true })
  }
})
const ours = await node([])
const theirs = await node(['/ip4/127.0.0.1/tcp/0'])
let got = 0
theirs.services.pubsub.addEventListener('message', () => { got++ })
theirs.services.pubsub.subscribe('r')
ours.services.pubsub.subscribe('r')
await ours.dial(theirs.getMultiaddrs()[0])
await new Promise(resolve => setTimeout(resolve, 2500))
const started = Date.now()
for (let at = 0; at < count; at++) {
  await ours.services.pubsub.publish('r', crypto.randomBytes(236))
  if (at % 64 === 63) await new Promise(resolve => setImmediate(resolve))
  while (at - got > 2000 && Date.now() - started < 120000) {
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
while (got < count && Date.now() - started < 120000) await new Promise(r => setTimeout(r, 5))
console.log(JSON.stringify({ rate: got / ((Date.now() - started) / 1000), lost: count - got }))
process.exit(0)
