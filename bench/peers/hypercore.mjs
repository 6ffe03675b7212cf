// hypercore: blocks of 300 bytes replicate to a second core over TCP. Arguments: FOLDER COUNT.
// One signature covers a batch of 1000 blocks; both cores persist.
import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import net from 'node:net'

const require = createRequire(process.env.BENCH_PEERS + '/')
const Hypercore = require('hypercore')
const [folder, text] = process.argv.slice(2)
const count = Number(text)
const BATCH = 1000

const ours = new Hypercore(folder + '/a')
await ours.ready()
const blocks = Array.from({ length: count }, () => crypto.randomBytes(300))
for (let at = 0; at < count; at += BATCH) await ours.append(blocks.slice(at, at + BATCH))

const started = Date.now()
const theirs = new Hypercore(folder + '/b', ours.key)
await theirs.ready()
const server = net.createServer(socket => {
  const stream = ours.replicate(false)
  socket.pipe(stream).pipe(socket)
  socket.on('error', () => {})
  stream.on('error', () => {})
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const socket = net.connect(server.address().port, '127.0.0.1')
const stream = theirs.replicate(true)
socket.pipe(stream).pipe(socket)
stream.on('error', () => {})
await theirs.update({ wait: true })
await theirs.download({ start: 0, end: count }).done()
const last = await theirs.get(count - 1)
if (!last.equals(blocks[count - 1])) throw new Error('not the same block')
console.log(JSON.stringify({ rate: count / ((Date.now() - started) / 1000) }))
process.exit(0)
