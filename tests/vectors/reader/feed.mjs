// What the core is asked about: feeds and proofs, certificates, histories, presentations.

import { fields, groupBy, hex, require_, same, unpack } from './cbor.mjs'
import { History, countVotes, open1, openIdentity, parse } from './core.mjs'
import { fieldOf, fits } from './schema.mjs'

const STANDS_IN = { // docs/protocol.md, table of kinds: what the vectors use
  negotiation: ['keys', 'vote', 'refusal', 'proposal', 'rejection'],
  space: ['keys', 'vote', 'credential', 'credential-revocation', 'change', 'recovery', 'veto', 'review', 'invite', 'join', 'leave']
}

export class Feeds { // G1 to G6, G10
  constructor (type, topic, now) { Object.assign(this, { type, topic, now, feeds: new Map(), barred: new Map() }) }

  bar (key, seq) { this.barred.set(hex(key), Math.min(seq, this.barred.get(hex(key)) ?? Infinity)) }

  check (one, authorise) { // true if it is new; `authorise` refuses whom it does not let write
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
    require_(one.seq === feed.length && (one.seq === 0 || same(one.prev, feed.at(-1))), 'record.gap')
    this.feeds.set(key, [...feed, one.id])
    return true
  }
}

export function checkFeed ({ type, topic, now, proofs, records }) {
  const feeds = new Feeds(type, topic, now)
  for (const proof of proofs.map(openProof)) feeds.bar(proof.key, proof.seq)
  for (const raw of records) feeds.check(parse(raw), () => {})
}

export function openProof (raw) { // G9
  const value = unpack(raw, 2112)
  fits('equivocation', value)
  const [first, second] = [parse(value.get('first')), parse(value.get('second'))]
  const place = (one) => [hex(one.topic), hex(one.key), one.seq].join()
  const bare = first.body === null && second.body === null
  require_(bare && hex(first.id) < hex(second.id) && place(first) === place(second), 'record.proof')
  return first
}

export function checkHistory ({ identities, record }) {
  new History(identities.map(openIdentity)).maySign(parse(record))
}

export function checkCertificate ({ topic, subject, slot, needed, voters, votes, identities = [] }) {
  const known = groupBy(identities.map(openIdentity), (one) => one.did)
  const histories = new Map([...known].map(([did, all]) => [did, new History(all)]))
  const keys = new Map(voters.map(([did, key]) => [hex(did), [hex(key)]]))
  for (const [did, history] of histories) keys.get(did)?.push(...history.votingKeys)
  countVotes({ topic, subject, slot, needed, voters: keys, votes, histories })
}

export function openToken (raw, kind) {
  const { key, payload, id } = open1(unpack(raw), `token/${kind}`)
  const body = unpack(payload)
  fits(fieldOf('token-bodies', kind), body)
  return { key, id, body: fields(body) }
}

export function checkPresentation (raw) { // K5
  const { key, body } = openToken(raw, 'presentation')
  const [registrar, subject] = [openIdentity(body.registrar), openIdentity(body.subject)]
  const found = parse(body.credential)
  require_(found.kind === 'credential', 'record.kind')
  require_(hex(found.author) === registrar.did && registrar.delegated.includes(hex(found.key)), 'credential.issuer')
  require_(found.body, 'record.body')
  fits('credential', found.body)
  require_(hex(found.body.get('subject')) === subject.did && hex(key) === subject.voting, 'credential.subject')
}
