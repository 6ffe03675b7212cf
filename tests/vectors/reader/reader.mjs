// A second reader of Village's bytes, written from docs/protocol.md and tests/vectors/README.md alone.
// `node reader.mjs FILE.vector…` (without files: all of them) prints one line for each file: its name,
// a space, and "ok" or the code of the refusal. It ends with code 1 if any is another than the file
// expects, or of a kind that it does not know. It shares no code with the product: cborg for CBOR,
// Node for SHA-256 and Ed25519.

import { readFileSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Refused, unpack } from './bytes.mjs'
import { History, checkCertificate, checkFeed, checkPresentation, checkStop, fields, openIdentity, openProof, openToken, parse } from './records.mjs'
import { checkReceipt } from './receipts.mjs'
import { checkSpace, readOpening } from './spaces.mjs'

const FOLDER = fileURLToPath(new URL('..', import.meta.url))
const parts = (data) => fields(unpack(data))

const JUDGES = {
  codec: unpack,
  record: parse,
  certificate: (data) => checkCertificate(parts(data)),
  identity: openIdentity,
  history: (data) => {
    const { identities, record } = parts(data)
    new History(identities.map(openIdentity)).maySign(parse(record))
  },
  proof: openProof,
  feed: (data) => checkFeed(parts(data)),
  opening: readOpening,
  token: (data) => openToken(parts(data).token, parts(data).kind),
  stop: (data) => checkStop(parts(data)),
  presentation: checkPresentation,
  space: (data) => checkSpace(parts(data)),
  receipt: checkReceipt
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
  const found = outcome(kind, new Uint8Array(file.subarray(end + 2)))
  console.log(basename(path, '.vector'), found)
  if (found !== expect) process.exitCode = 1
}

const all = () => readdirSync(FOLDER).filter((name) => name.endsWith('.vector')).sort().map((name) => FOLDER + name)
const given = process.argv.slice(2)
for (const path of given.length > 0 ? given : all()) judge(path)
