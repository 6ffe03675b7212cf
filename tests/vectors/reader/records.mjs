// Records, tokens, identities, decisions and feeds (docs/protocol.md sections 1 to 4).

import { domainDigest, hex, isBytes, isInteger, open1, refuse, require_, same, sha256, unpack } from './bytes.mjs'
import { fieldOf, fits } from './schema.mjs'

// --- records (R1 to R6) and tokens ------------------------------------------------------------

export function parse (raw) {
  const value = unpack(raw)
  require_(Array.isArray(value) && value.length === 2, 'shape.mismatch')
  const [envelope, body] = value
  require_(Array.isArray(envelope) && (body === null || isBytes(body)), 'shape.mismatch')
  const { key, payload, id } = open1(envelope, 'record')
  const header = unpack(payload)
  require_(header instanceof Map && isInteger(header.get('v')), 'shape.mismatch')
  fits('header', new Map([...header, ['v', 1]]))
  require_(header.get('v') === 1, 'record.version')
  require_((header.get('seq') === 0) === !header.has('prev'), 'record.gap')
  return { ...Object.fromEntries(header), key, id, raw, body: body && openBody(header.get('body'), body) }
}

function openBody (digest, body) {
  require_(same(sha256(body), digest) && body.length >= 16, 'record.body')
  const content = unpack(body.subarray(16))
  require_(content instanceof Map, 'shape.mismatch')
  return content
}

export function openToken (raw, kind) {
  const { key, payload, id } = open1(unpack(raw), `token/${kind}`)
  const body = unpack(payload)
  fits(fieldOf('token-bodies', kind), body)
  return { key, id, body: Object.fromEntries(body) }
}

export const fields = (map) => Object.fromEntries(map)

// --- section 2: identities (I1 to I9) ----------------------------------------------------------

const distinct = (values) => new Set(values).size === values.length

const opened = new Map() // the same bytes are opened once

export function openIdentity (raw) {
  if (!opened.has(hex(raw))) opened.set(hex(raw), readIdentity(raw))
  return opened.get(hex(raw))
}

function readIdentity (raw) {
  const found = parse(raw)
  require_(found.kind === 'identity', 'record.kind')
  require_(found.body, 'record.body')
  fits('identity', found.body)
  const body = fields(found.body)
  const topic = domainDigest('identity', found.author)
  require_(same(found.key, found.author) && same(found.topic, topic), 'identity.root')
  require_(found.seq === body.revision && found.seq < 1024 && raw.length <= 16384, 'identity.chain')
  const root = hex(found.author)
  const delegated = body.records.map((one) => hex(one.get('key')))
  const retired = body.retired.map((one) => hex(one.get('key')))
  const back = delegated.some((key) => retired.includes(key))
  const pins = body.retired.reduce((sum, one) => sum + (one.get('pins') ?? []).length, 0)
  const voting = body.records.filter((one) => one.get('vote')).map((one) => hex(one.get('key')))
  require_(voting.length === 1, 'identity.keys')
  require_(!delegated.includes(root) && distinct(delegated), 'identity.keys')
  require_(!back && distinct(retired) && pins <= 96, 'identity.keys')
  const dids = (body.guardians?.get('dids') ?? []).map(hex)
  const needed = body.guardians?.get('needed') ?? 0
  require_(!dids.includes(root) && distinct(dids) && needed <= dids.length, 'identity.keys')
  require_(!body.guardians || needed > 0, 'identity.keys')
  return { ...found, ...body, did: root, delegated, voting: voting[0], dids, id: hex(found.id), prev: found.prev && hex(found.prev) }
}

function forkPlace (known) {
  const at = (revision) => known.filter((one) => one.revision === revision)
  const revisions = [...new Set(known.map((one) => one.revision))].sort((a, b) => a - b)
  return revisions.find((revision) => {
    const [before] = at(revision - 1)
    return at(revision).length > 1 || (before && at(revision)[0].prev !== before.id)
  })
}

// What others showed (`shown`) adds keys; it takes nothing back and contradicts nothing (I10).
export class History {
  constructor (said, shown = []) {
    this.said = [...new Map(said.map((one) => [one.id, one])).values()]
    this.known = [...new Map([...said, ...shown].map((one) => [one.id, one])).values()]
    this.fork = forkPlace(this.said)
    this.good = this.known.filter((one) => this.fork === undefined || one.revision < this.fork)
      .sort((a, b) => a.revision - b.revision || (a.id < b.id ? -1 : 1))
    this.votingKeys = this.good.map((one) => one.voting)
    this.newest = this.good.at(-1)
  }

  naming (key) { return this.good.filter((one) => one.delegated.includes(key)) }

  withinPins (one) {
    return this.said.flatMap((each) => each.retired).every((retired) => {
      if (!same(retired.get('key'), one.key) || !retired.has('pins')) return true
      const pin = retired.get('pins').find((each) => same(each.get('topic'), one.topic))
      const seq = pin?.get('seq')
      return pin && (one.seq < seq || (one.seq === seq && same(one.id, pin.get('head'))))
    })
  }

  stands (one) { return this.naming(hex(one.key)).length > 0 && this.withinPins(one) }

  maySign (one) {
    const key = hex(one.key)
    const naming = this.naming(key)
    require_(naming.length > 0, this.fork === undefined ? 'record.author' : 'identity.chain')
    require_(this.withinPins(one), 'identity.retired')
    const ends = naming.map((each) => {
      const mine = each.records.find((row) => hex(row.get('key')) === key)
      return Math.min(mine.get('until'), each.until)
    })
    require_(one.at <= Math.max(...ends), 'identity.expired')
  }
}

// --- section 3: decisions (D1 to D6) ----------------------------------------------------------

export const quorum = (n) => Math.floor(2 * n / 3) + 1

// voters: Map of participant -> voting keys, all in hex.
export function checkVote (vote, voters, slot) {
  require_(vote.kind === 'vote' && vote.body, 'decision.subject')
  require_(voters.get(hex(vote.author))?.includes(hex(vote.key)), 'decision.voter')
  fits('vote', vote.body)
  require_(vote.body.get('slot') === slot, 'decision.subject')
}

export function checkCertificate ({ topic, subject, slot, needed, voters, votes, identities = [] }) {
  const known = groupBy(identities.map(openIdentity), (one) => one.did)
  const histories = new Map([...known].map(([did, all]) => [did, new History(all)]))
  const keys = new Map(voters.map(([did, key]) => [hex(did), [hex(key)]]))
  for (const [did, history] of histories) keys.get(did)?.push(...history.votingKeys)
  countVotes({ topic, subject, slot, needed, keys, votes, histories })
}

// keys: Map of participant -> voting keys, all in hex.
export function countVotes ({ topic, subject, slot, needed, keys, votes, histories = new Map() }) {
  const yes = new Map() // voter -> subjects
  for (const raw of votes) {
    const vote = parse(raw)
    require_(same(vote.topic, topic), 'decision.subject')
    const voter = hex(vote.author)
    if (histories.get(voter)?.stands(vote) === false) continue
    checkVote(vote, keys, slot)
    if (vote.body.get('choice') !== 'yes') continue
    yes.set(voter, (yes.get(voter) ?? new Set()).add(hex(vote.body.get('subject'))))
  }
  const counted = [...yes.values()].filter((said) => said.size === 1 && said.has(hex(subject)))
  require_(counted.length >= needed, 'decision.quorum')
}

export function groupBy (values, key) {
  const found = new Map()
  for (const one of values) found.set(key(one), [...(found.get(key(one)) ?? []), one])
  return found
}

// --- section 4: proofs, feeds (G1 to G6, G9, G10) ---------------------------------------------

export function openProof (raw) {
  const value = unpack(raw, 2112)
  fits('equivocation', value)
  const [first, second] = [parse(value.get('first')), parse(value.get('second'))]
  const place = (one) => [hex(one.topic), hex(one.key), one.seq].join()
  const bare = first.body === null && second.body === null
  require_(bare && hex(first.id) < hex(second.id) && place(first) === place(second), 'record.proof')
  return first
}

const STANDS_IN = { // docs/protocol.md, table of kinds: what the vectors use
  negotiation: ['keys', 'vote', 'refusal', 'proposal', 'rejection'],
  space: ['keys', 'vote', 'credential', 'credential-revocation', 'change', 'recovery', 'veto', 'review', 'invite', 'join', 'leave']
}

export class Feeds {
  constructor (type, topic, now) {
    Object.assign(this, { type, topic, now, feeds: new Map(), barred: new Map() })
  }

  bar (key, seq) { this.barred.set(hex(key), Math.min(seq, this.barred.get(hex(key)) ?? Infinity)) }

  // True if the record is new; `authorise` refuses whom it does not let write.
  check (one, authorise) {
    require_(same(one.topic, this.topic), 'topic.unknown')
    require_(STANDS_IN[this.type].includes(one.kind), 'record.kind')
    if (one.body) fits(fieldOf('record-bodies', one.kind), one.body)
    require_(one.at <= this.now + 300, 'record.clock')
    const key = hex(one.key)
    const feed = this.feeds.get(key) ?? []
    if (one.seq < feed.length) return require_(same(feed[one.seq], one.id), 'record.equivocation') && false
    require_(one.body, 'record.body')
    require_(one.seq < (this.barred.get(key) ?? Infinity), 'record.equivocation')
    authorise(one)
    const follows = one.seq === feed.length && (one.seq === 0 || same(one.prev, feed.at(-1)))
    require_(follows, 'record.gap')
    this.feeds.set(key, [...feed, one.id])
    return true
  }
}

export function checkFeed ({ type, topic, now, proofs, records }) {
  const feeds = new Feeds(type, topic, now)
  for (const proof of proofs.map(openProof)) feeds.bar(proof.key, proof.seq)
  for (const raw of records) feeds.check(parse(raw), () => {})
}

// --- tokens that rest on others ----------------------------------------------------------------

export function checkStop ({ agreement, registrars, stop }) {
  const found = openToken(stop, 'stop')
  require_(same(found.body.agreement, agreement), 'consent.scope')
  const right = openToken(found.body.right, 'stop-right')
  require_(registrars.some((key) => same(key, right.key)), 'credential.issuer')
  require_(same(right.body.agreement, agreement) && same(right.body.key, found.key), 'credential.subject')
}

export function checkPresentation (raw) {
  const { key, body } = openToken(raw, 'presentation')
  const [registrar, subject] = [openIdentity(body.registrar), openIdentity(body.subject)]
  const found = parse(body.credential)
  require_(found.kind === 'credential', 'record.kind')
  const own = hex(found.author) === registrar.did && registrar.delegated.includes(hex(found.key))
  require_(own, 'credential.issuer')
  require_(found.body, 'record.body')
  fits('credential', found.body)
  const about = hex(found.body.get('subject')) === subject.did && hex(key) === subject.voting
  require_(about, 'credential.subject')
}
