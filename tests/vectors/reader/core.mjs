// The proof of the format: records, identities and what they take back, decisions (docs/protocol.md 1-3).

import { createPublicKey, verify } from 'node:crypto'
import { domainDigest, fields, hex, isBytes, isInteger, pack, require_, same, sha256, unpack } from './cbor.mjs'
import { fits } from './schema.mjs'

const [P, T] = [2n ** 255n - 19n, 0x05ac9bc3ecd3c0b2e5ba0a2ab2d6ae0c2fc4a6fb83bdbdca7c0cd21ebb4f5fc7n]
function isPoint (bytes) { // of R3: points have one encoding each, and an order that does not divide 8
  const y = BigInt('0x' + hex(Buffer.from(bytes).reverse())) & (2n ** 255n - 1n)
  return y < P && ![0n, 1n, P - 1n, T, P - T].includes(y)
}

export function open1 (envelope, context) { // R3: COSE_Sign1 with Ed25519
  const types = [isBytes, (one) => one instanceof Map, isBytes, isBytes]
  require_(envelope?.length === 4 && types.every((is, at) => is(envelope[at])), 'shape.mismatch')
  const [outer, { size }, payload, signature] = envelope
  require_(size === 0, 'record.algorithm')
  const header = unpack(outer)
  const key = header instanceof Map && header.size === 2 && header.get(1) === -19 && header.get(4)
  require_(isBytes(key) && key.length === 32, 'record.algorithm')
  const signed = pack(['Signature1', outer, Buffer.from(`village/${context}/v1`), payload])
  require_(signature.length === 64 && isPoint(key) && isPoint(signature.subarray(0, 32)), 'record.signature')
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key]) // RFC 8410
  require_(verify(null, signed, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature), 'record.signature')
  return { key, payload, id: sha256(signed) }
}

export function parse (raw) { // R1 to R6: [envelope, body], the envelope's payload is the header
  const value = unpack(raw)
  const [envelope, body] = Array.isArray(value) && value.length === 2 ? value : []
  require_(Array.isArray(envelope) && (body === null || isBytes(body)), 'shape.mismatch')
  const { key, payload, id } = open1(envelope, 'record')
  const header = unpack(payload)
  require_(header instanceof Map && isInteger(header.get('v')), 'shape.mismatch')
  fits('header', new Map([...header, ['v', 1]]))
  require_(header.get('v') === 1, 'record.version')
  require_((header.get('seq') === 0) === !header.has('prev'), 'record.gap')
  require_(!body || (same(sha256(body), header.get('body')) && body.length >= 16), 'record.body')
  const said = body && unpack(body.subarray(16))
  return require_(!body || said instanceof Map, 'shape.mismatch') && { ...fields(header), key, id, raw, body: said }
}

const unique = (values) => new Set(values).size === values.length
export const quorum = (n) => Math.floor(2 * n / 3) + 1 // D5

export function openIdentity (raw) { // I1, I2, I7
  const found = parse(raw)
  require_(found.kind === 'identity', 'record.kind')
  require_(found.body, 'record.body')
  fits('identity', found.body)
  const { records, retired, guardians, ...body } = fields(found.body)
  require_(same(found.key, found.author) && same(found.topic, domainDigest('identity', found.author)), 'identity.root')
  require_(found.seq === body.revision && found.seq < 1024 && raw.length <= 16384, 'identity.chain')
  const [root, delegated, back] = [hex(found.author), ...[records, retired].map((all) => all.map((one) => hex(one.get('key'))))]
  const voting = records.filter((one) => one.get('vote')).map((one) => hex(one.get('key')))
  const pins = retired.flatMap((one) => one.get('pins') ?? [])
  const [dids, needed] = guardians ? [guardians.get('dids').map(hex), guardians.get('needed')] : [[root], 1]
  const sound = voting.length === 1 && !delegated.includes(root) && unique([...delegated, ...back])
  require_(sound && pins.length <= 96, 'identity.keys')
  require_(!guardians || (unique([root, ...dids]) && needed > 0 && needed <= dids.length), 'identity.keys')
  const [id, prev, did] = [hex(found.id), found.prev && hex(found.prev), root]
  return { ...found, ...body, records, retired, guardians, id, prev, did, delegated, voting: voting[0], dids }
}

function forkOf (known) { // I7: the lowest revision at which a root contradicted itself
  const at = (revision) => known.filter((one) => one.revision === revision)
  const off = known.filter(({ revision, prev }) => at(revision).length > 1 || at(revision - 1).some((one) => one.id !== prev))
  return Math.min(...off.map((one) => one.revision))
}

export class History { // I7 to I10: `said` by the participant, `shown` by others, which takes nothing back
  constructor (said, shown = []) {
    this.said = [...new Map(said.map((one) => [one.id, one])).values()]
    this.known = [...new Map([...said, ...shown].map((one) => [one.id, one])).values()]
    this.fork = forkOf(this.said)
    this.good = this.known.filter((one) => one.revision < this.fork)
    this.good.sort((a, b) => a.revision - b.revision || (a.id < b.id ? -1 : 1))
    this.votingKeys = this.good.map((one) => one.voting)
    this.newest = this.good.at(-1)
  }

  naming (key) { return this.good.filter((one) => one.delegated.includes(key)) }

  withinPins (one) { // I8
    const words = this.said.flatMap((each) => each.retired).filter((each) => each.has('pins') && same(each.get('key'), one.key))
    return words.map((word) => word.get('pins').find((pin) => same(pin.get('topic'), one.topic))).every((pin) =>
      pin && (one.seq < pin.get('seq') || (one.seq === pin.get('seq') && same(one.id, pin.get('head')))))
  }

  stands (one) { return this.naming(hex(one.key)).length > 0 && this.withinPins(one) }

  maySign (one) { // I9
    const rows = this.naming(hex(one.key)).flatMap((each) => each.records.filter((row) => same(row.get('key'), one.key))
      .map((row) => Math.min(row.get('until'), each.until)))
    require_(rows.length > 0, this.fork === Infinity ? 'record.author' : 'identity.chain')
    require_(this.withinPins(one), 'identity.retired')
    require_(one.at <= Math.max(...rows), 'identity.expired')
  }
}

export function checkVote (vote, voters, slot) { // D1, D2; voters: Map of did -> voting keys, in hex
  require_(vote.kind === 'vote' && vote.body, 'decision.subject')
  require_(voters.get(hex(vote.author))?.includes(hex(vote.key)), 'decision.voter')
  fits('vote', vote.body)
  require_(vote.body.get('slot') === slot, 'decision.subject')
}

export function countVotes ({ topic, subject, slot, needed, voters, votes, histories = new Map() }) { // D1 to D3, D6
  const yes = new Map() // voter -> subjects
  for (const raw of votes) {
    const vote = parse(raw)
    const voter = hex(vote.author)
    require_(same(vote.topic, topic), 'decision.subject')
    if (histories.get(voter)?.stands(vote) === false) continue
    checkVote(vote, voters, slot)
    if (vote.body.get('choice') === 'yes') yes.set(voter, (yes.get(voter) ?? new Set()).add(hex(vote.body.get('subject'))))
  }
  require_([...yes.values()].filter((said) => said.size === 1 && said.has(hex(subject))).length >= needed, 'decision.quorum')
}
