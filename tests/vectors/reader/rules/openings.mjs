// Openings of topics (T1 to T4), and withdrawals by people (C8).

import { Refused, fields, hex, refuse, require_, same, sha256, unpack } from '../cbor.mjs'
import { openIdentity } from '../core.mjs'
import { checkCertificate, openToken } from '../feed.mjs'
import { fits } from '../schema.mjs'
import { Space } from './spaces.mjs'

export function readOpening (raw) {
  const value = unpack(raw, 1114112)
  switch (value instanceof Map && value.get('type')) {
    case 'space': return fits('charter', value) && new Space(raw, value)
    case 'negotiation': return fits('negotiation-opening', value)
    case 'agreement-opening': return fits('agreement-opening', value) && checkAgreement(fields(value))
    default: return refuse('topic.opening')
  }
}

function checkAgreement ({ document, votes, identities }) {
  const agreement = unpack(document, 49152)
  fits('agreement', agreement)
  const { negotiation, parties, hosts } = fields(agreement)
  const voters = parties.map((one) => [one.get('did'), one.get('vote_key')])
  try {
    const keys = new Set(voters.map(([, key]) => hex(key)))
    require_(parties.length > 0 && parties.length <= 64 && keys.size === parties.length, 'agreement.document')
    checkCertificate({ topic: negotiation, subject: sha256(document), slot: 'agreement', needed: parties.length, voters, votes })
  } catch (error) {
    throw error instanceof Refused ? new Refused('agreement.certificate') : error
  }
  const named = [...parties, ...hosts.get('candidates')]
  require_(named.length === identities.length, 'agreement.document')
  const seen = new Set()
  identities.forEach((raw, at) => { // in the document's order: the first that is off gives the code
    const one = openIdentity(raw)
    const own = one.id === hex(named[at].get('identity')) && one.did === hex(named[at].get('did')) &&
      one.voting === hex(named[at].get('vote_key'))
    require_(own && !seen.has(one.did), 'agreement.document')
    seen.add(one.did)
  })
}

export function checkStop ({ agreement, registrars, stop }) {
  const found = openToken(stop, 'stop')
  require_(same(found.body.agreement, agreement), 'consent.scope')
  const right = openToken(found.body.right, 'stop-right')
  require_(registrars.some((key) => same(key, right.key)), 'credential.issuer')
  require_(same(right.body.agreement, agreement) && same(right.body.key, found.key), 'credential.subject')
}
