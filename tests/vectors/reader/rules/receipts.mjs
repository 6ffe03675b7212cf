// A person's receipt: certificates of runs, proofs of use and of absence (docs/protocol.md section 9).

import { createHmac } from 'node:crypto'
import { Refused, domainDigest, eightBytes, fields, hex, refuse, require_, same, sha256, unpack } from '../cbor.mjs'
import { countVotes, openIdentity, parse, quorum } from '../core.mjs'
import { openToken } from '../feed.mjs'
import { fits } from '../schema.mjs'

export function checkReceipt (data) {
  const value = unpack(data, 2 ** 28)
  fits('receipt-file', value)
  const file = fields(value)
  const document = unpack(file.agreement, 49152)
  fits('agreement', document)
  const person = { ...file, topic: sha256(file.agreement), document }
  person.consents = file.consents.map((raw) => openToken(raw, 'consent'))
  person.stops = file.stops.map((raw) => openToken(raw, 'stop'))
  checkConsents(person)
  person.keys = votingKeys(document, file.identities)
  let first // what incriminates a run is a finding, and the next runs are looked at all the same
  for (const run of file.runs) {
    try {
      checkRun(fields(run), person)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      first ??= error
      if (!error.message.startsWith('consent.')) break
    }
  }
  if (first) throw first
  require_(file.runs.length > 0, 'audit.malformed')
}

function checkConsents ({ consents, stops, document, topic }) {
  const signers = new Set([...consents, ...stops].map((one) => hex(one.key)))
  require_(consents.length > 0 && signers.size === 1, 'consent.signature')
  for (const { body } of consents) {
    const notice = document.get('people')?.get('notice')
    require_(same(body.agreement, topic) && notice && same(body.notice, notice), 'consent.scope')
  }
  const ordinals = consents.map((one) => one.body.ordinal)
  require_(ordinals.every((one, at) => at === 0 || one > ordinals[at - 1]), 'consent.scope')
}

function votingKeys (document, identities) {
  const parties = document.get('parties')
  const keys = new Map(parties.map((one) => [hex(one.get('did')), [hex(one.get('vote_key'))]]))
  const all = new Set([...keys.values()].flat())
  require_(parties.length > 0 && parties.length <= 64 && all.size === parties.length, 'agreement.document')
  for (const one of identities.map(openIdentity)) (keys.get(one.did) ?? refuse('agreement.party')).push(one.voting)
  return keys
}

function checkRun ({ certificate, proofs }, { topic, keys, consents, stops }) {
  const signed = parse(certificate.get('run'))
  require_(same(signed.topic, topic) && signed.kind === 'run', 'decision.subject')
  require_(signed.body, 'record.body')
  fits('run', signed.body)
  const run = fields(signed.body)
  const slot = `run/${run.number}/${run.term}`
  countVotes({ topic, subject: signed.id, slot, needed: quorum(keys.size), voters: keys, votes: certificate.get('votes') })
  const leafOf = ({ body }) => hex(createHmac('sha256', body.secret).update(domainDigest('leaf', topic, eightBytes(run.number))).digest())
  const leaves = [...new Set(consents.map(leafOf))]
  require_(proofs.length === leaves.length, 'run.proof')
  const there = leaves.filter((leaf, at) => isIn(leaf, proofs[at], run))
  const used = consents.filter((one) => there.includes(leafOf(one)))
  if (used.length === 0) return
  const covers = ({ body }) => body.first <= run.number && run.number <= body.last
  const consent = used.filter(covers).at(-1) ?? used.at(-1)
  require_(covers(consent), 'consent.scope')
  const ended = stops.filter((one) => same(one.body.consent, consent.id))
  require_(!ended.some((one) => run.stops.some((stop) => same(stop, one.id))), 'consent.withdrawn')
}

// --- Merkle trees (RFC 6962; the steps of RFC 9162, section 2.1.3.2) ----------------------------

const node = (...parts) => sha256(Buffer.concat(parts.map((one) => Buffer.from(one))))

function isIn (leaf, proof, { leaves, leaf_count: count }) {
  const [inclusion, absence] = [proof.get('inclusion'), proof.get('absence')]
  require_(!inclusion !== !absence, 'run.proof')
  if (inclusion) return checkInclusion(inclusion, leaf, leaves, count)
  const [before, after] = [absence.get('before'), absence.get('after')]
  const between = (!before || hex(before.get('leaf')) < leaf) && (!after || hex(after.get('leaf')) > leaf)
  const next = (after ? after.get('index') : count) === (before ? before.get('index') + 1 : 0)
  require_(hex(absence.get('leaf')) === leaf && between && next, 'run.proof')
  require_(count > 0 || same(leaves, sha256('')), 'run.proof')
  for (const one of [before, after]) if (one) checkInclusion(one, hex(one.get('leaf')), leaves, count)
  return false
}

function checkInclusion (proof, leaf, root, count) {
  require_(hex(proof.get('leaf')) === leaf && proof.get('index') < count, 'run.proof')
  let [index, last, found] = [proof.get('index'), count - 1, node([0], proof.get('leaf'))]
  for (const sibling of proof.get('path')) {
    require_(last > 0, 'run.proof')
    if (index % 2 === 1 || index === last) {
      found = node([1], sibling, found)
      while (index % 2 === 0 && index > 0) [index, last] = [index / 2, Math.floor(last / 2)]
    } else {
      found = node([1], found, sibling)
    }
    [index, last] = [Math.floor(index / 2), Math.floor(last / 2)]
  }
  return require_(last === 0 && same(found, root), 'run.proof')
}
