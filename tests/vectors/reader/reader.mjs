// A second reader of Village's bytes, written from docs/protocol.md and tests/vectors/README.md alone.
// `node reader.mjs FILE.vector…` (without files: all of them) prints one line for each file: its name,
// a space, and "ok" or the code of the refusal. It ends with code 1 if any is another than the file
// expects, or of a kind that it does not know. It shares no code with the product: cborg for CBOR,
// Node for SHA-256 and Ed25519. The format is core.mjs and feed.mjs; `--core` judges that alone, and
// leaves out the vectors that need the rules of topics (rules/).

import { readFileSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Refused, fields, unpack } from './cbor.mjs'
import { openIdentity, parse } from './core.mjs'
import { checkCertificate, checkFeed, checkHistory, checkPresentation, openProof } from './feed.mjs'

const FOLDER = fileURLToPath(new URL('..', import.meta.url))
const parts = (data) => fields(unpack(data))
const CORE = process.argv.includes('--core')

const JUDGES = {
  codec: unpack,
  record: parse,
  identity: openIdentity,
  history: (data) => checkHistory(parts(data)),
  certificate: (data) => checkCertificate(parts(data)),
  proof: openProof,
  feed: (data) => checkFeed(parts(data)),
  presentation: checkPresentation,
  ...(CORE ? {} : (await import('./rules/judges.mjs')).JUDGES)
}

function outcome (kind, data) {
  if (!Object.hasOwn(JUDGES, kind)) return `unknown-kind-${kind}`
  try {
    JUDGES[kind](data)
    return 'ok'
  } catch (error) {
    if (error instanceof Refused) return error.message
    throw error
  }
}

function judge (path) {
  const file = readFileSync(path)
  const end = file.indexOf('\n\n')
  const [, expect, kind] = /^expect: (.*)\nkind: (.*)\n/.exec(file.subarray(0, end).toString())
  if (CORE && !Object.hasOwn(JUDGES, kind)) return
  const found = outcome(kind, new Uint8Array(file.subarray(end + 2)))
  console.log(basename(path, '.vector'), found)
  if (found !== expect) process.exitCode = 1
}

const all = () => readdirSync(FOLDER).filter((name) => name.endsWith('.vector')).sort().map((name) => FOLDER + name)
const given = process.argv.slice(2).filter((one) => one !== '--core')
for (const path of given.length > 0 ? given : all()) judge(path)
