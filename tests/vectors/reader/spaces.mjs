// Openings of topics, and a space: changes in two steps, recovery, credentials (sections 2 to 5).

import { Refused, hex, refuse, require_, same, sha256, unpack } from './bytes.mjs'
import { Feeds, History, checkCertificate, checkVote, fields, groupBy, openIdentity, parse, quorum } from './records.mjs'
import { fits } from './schema.mjs'

// --- openings ----------------------------------------------------------------------------------

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

// --- a space -----------------------------------------------------------------------------------

export function checkSpace ({ charter, now, records, epoch, recovery, member, credential }) {
  const space = readOpening(charter)
  const feeds = new Feeds('space', space.id, now)
  for (const raw of records) {
    const one = parse(raw)
    if (feeds.check(one, (each) => space.authorise(each))) space.records.push(one)
  }
  require_(!epoch || space.epochs().at(-1).id === hex(epoch), 'decision.quorum')
  require_(!recovery || space.recovered().some((one) => same(one.id, recovery)), 'decision.quorum')
  require_(!member || space.isMember(hex(member)), 'space.member')
  require_(!credential || space.hasCredential(credential, now), 'credential.expired')
}

// Keeps a list of records; all that holds is found anew from it, so order cannot matter.
class Space {
  constructor (raw, charter) {
    const founders = charter.get('founders').map((one) => openIdentity(one.get('identity')))
    const dids = founders.map((one) => one.did)
    require_(dids.length > 0 && new Set(dids).size === dids.length, 'topic.opening')
    this.id = sha256(raw)
    this.founders = founders
    this.records = []
    const seats = new Map(founders.map((one) => [one.did, one.id]))
    this.first = { id: hex(this.id), number: 0, seats, terms: charter.get('terms'), removed: [] }
  }

  // What follows from the records that are here; found anew once there is another. While it is being
  // found it counts as nothing: a record that only itself makes stand does not stand.
  found (name, find) {
    if (this.cache?.size !== this.records.length) this.cache = { size: this.records.length, found: new Map() }
    if (!this.cache.found.has(name)) {
      this.cache.found.set(name, [])
      const made = find()
      this.cache.found.set(name, made)
    }
    return this.cache.found.get(name)
  }

  of (kind) { return this.records.filter((one) => one.kind === kind) }

  histories () { return this.found('histories', () => this.findHistories()) }

  // Identities are known from the charter and from `keys`; invites and recoveries that stand show more.
  findHistories () {
    const said = groupBy([...this.founders, ...this.of('keys').map(identityIn)], (one) => one.did)
    let all = new Map()
    for (;;) {
      const shown = groupBy([...all.values()], (one) => one.did)
      const dids = [...new Set([...said.keys(), ...shown.keys()])]
      const known = new Map(dids.map((did) => [did, new History(said.get(did) ?? [], shown.get(did))]))
      this.cache.found = new Map([['histories', known]])
      const brought = [...this.standing('recovery'), ...this.standing('invite')].map(identityIn)
      const next = new Map([...all, ...brought.map((one) => [one.id, one])])
      if (next.size === all.size) return known
      all = next
    }
  }

  standing (kind) { return this.of(kind).filter((one) => this.stands(one)) }

  stands (one) {
    const history = this.histories().get(hex(one.author))
    return history !== undefined && history.stands(one) && this.isPresent(one, history)
  }

  votersOf (epoch) {
    const histories = this.histories()
    return new Map([...epoch.seats.keys()].map((did) => [did, histories.get(did)?.votingKeys ?? []]))
  }

  // Who said yes in a slot, by standing votes of voters: subject -> set of voters.
  yes (slot, voters) {
    const counted = this.of('vote').filter((one) => one.body.get('slot') === slot && one.body.get('choice') === 'yes' &&
      this.stands(one) && voters.get(hex(one.author))?.includes(hex(one.key)))
    const bySubject = groupBy(counted, (one) => hex(one.body.get('subject')))
    return new Map([...bySubject].map(([subject, votes]) => [subject, new Set(votes.map((one) => hex(one.author)))]))
  }

  decided (slot, voters, needed, subject) { return (this.yes(slot, voters).get(subject)?.size ?? 0) >= needed }

  epochs () { return this.found('epochs', () => this.findEpochs()) }

  findEpochs () {
    const found = [this.first]
    for (let next = this.first; next; next = this.after(next)) if (next !== this.first) found.push(next)
    return found
  }

  after (epoch) {
    const voters = this.votersOf(epoch)
    const final = (change, round) => ['change', 'confirm'].every((step) =>
      this.decided(`${step}/${epoch.id}/${round}`, voters, quorum(voters.size), hex(change.id)))
    const proposed = this.of('change').filter((one) => hex(one.body.get('epoch')) === epoch.id)
    for (let round = 0; round < 256; round++) {
      const change = proposed.find((one) => final(one, round))
      if (change) return this.begun(change, epoch.number + 1)
    }
  }

  begun (change, number) {
    const { members, terms, removed } = fields(change.body)
    const seats = new Map(members.map((one) => [hex(one.get('did')), hex(one.get('identity'))]))
    return { id: hex(change.id), number, seats, terms, removed }
  }

  named (id) { return this.epochs().find((one) => one.id === id) ?? refuse('space.epoch') }

  // --- the gate

  authorise (one) {
    const did = hex(one.author)
    const history = this.histories().get(did) ?? refuse('record.author')
    if (one.kind === 'keys') return this.checkKeys(one, history)
    history.maySign(one)
    require_(this.isPresent(one, history), 'space.removed')
    switch (one.kind) {
      case 'vote': return this.checkVote(one, one.body.get('slot'))
      case 'change': return this.checkChange(one)
      case 'recovery': return this.checkRecovery(one)
      case 'veto': return require_(this.case_(hex(one.body.get('recovery'))).did === did, 'space.recovery')
      case 'credential':
      case 'credential-revocation':
        return require_(this.epochs().some((each) => trusts(each.terms, one.author)), 'credential.issuer')
      case 'join': return require_(history.votingKeys.includes(hex(one.key)), 'space.invite')
    }
    require_(this.founded() && this.grants(did).length > 0, 'space.member')
    if (one.kind === 'invite') openIdentity(one.body.get('identity'))
    if (one.kind === 'leave') require_(history.votingKeys.includes(hex(one.key)), 'space.invite')
  }

  checkKeys (one, history) {
    const brought = openIdentity(one.body.get('identity'))
    require_(brought.did === hex(one.author), 'record.author')
    new History([...history.said, brought], history.known).maySign(one)
  }

  // Who left, was removed, or recovered under another root, has only what its pins leave, and what
  // keys sign that a later decision names (P15, P16, P18, I14).
  isPresent (one, history) {
    const did = hex(one.author)
    const slot = one.kind === 'vote' ? one.body.get('slot') : ''
    if (/^(charter$|change\/|confirm\/)/.test(slot)) return true
    return this.departures(did).every((gone) => {
      const pin = gone.pins.find((each) => same(each.get('key'), one.key))
      if (slot === `recovered/${gone.by}`) return true
      if (pin) return one.seq < pin.get('seq') || (one.seq === pin.get('seq') && same(one.id, pin.get('head')))
      if (gone.revision !== undefined || ['join', 'leave'].includes(one.kind)) return true
      const since = Math.min(...this.grants(did).filter((each) => outlives(each, gone)).map((each) => each.revision))
      return history.naming(hex(one.key)).some((each) => each.revision >= since)
    })
  }

  departures (did) {
    const gone = [...this.found('gone', () => this.findGone()), ...this.found('lost', () => this.findLost())]
    return gone.filter((one) => one.did === did)
  }

  findGone () {
    const removed = this.epochs().flatMap((epoch) => epoch.removed.map((one) => ({ did: hex(one.get('did')), epoch: epoch.number - 1, by: epoch.id, pins: one.get('pins') })))
    const leaves = this.of('leave').filter((one) => this.histories().get(hex(one.author))?.stands(one))
    const left = leaves.map((one) => ({ did: hex(one.author), revision: one.body.get('revision'), by: hex(one.id), pins: [...one.body.get('pins'), new Map([['key', one.key], ['seq', one.seq], ['head', one.id]])] }))
    return [...removed, ...left]
  }

  findLost () {
    return this.recovered().map((one) => ({ did: hex(one.body.get('did')), epoch: this.named(hex(one.body.get('epoch'))).number, by: hex(one.id), pins: one.body.get('pins') }))
  }

  checkVote (one, slot) {
    const subject = hex(one.body.get('subject'))
    const [family, first, second, more] = slot.split('/')
    if (slot === 'charter') return checkVote(one, this.votersOf(this.first), slot)
    if (/^recover(ed)?\/[0-9a-f]{64}$/.test(slot)) {
      checkVote(one, family === 'recover' ? this.guardians(this.case_(first).did) : this.votersOf(this.case_(first).epoch), slot)
      return require_(subject === first, 'decision.subject')
    }
    const round = /^(0|[1-9]\d*)$/.test(second ?? '') && Number(second) < 256
    if (['change', 'confirm'].includes(family) && round && /^([0-9a-f]{2})*$/.test(first) && more === undefined) {
      return checkVote(one, this.votersOf(this.named(first)), slot)
    }
    require_(/^admit\/[0-9a-f]{32}\/[0-9a-f]{64}$/.test(slot), 'decision.subject')
    const epoch = this.epochs().find((each) => each.id.slice(0, 32) === first) ?? refuse('space.epoch')
    checkVote(one, this.votersOf(epoch), slot)
    require_(subject === second, 'decision.subject')
  }

  checkChange (one) {
    const epoch = this.named(hex(one.body.get('epoch')))
    require_(this.votersOf(epoch).get(hex(one.author))?.includes(hex(one.key)), 'decision.voter')
    const members = one.body.get('members').map((each) => hex(each.get('did')))
    const all = [...members, ...one.body.get('removed').map((each) => hex(each.get('did')))]
    const whole = [...epoch.seats.keys()].every((did) => all.includes(did))
    require_(members.length > 0 && new Set(all).size === all.length && whole, 'space.change')
  }

  // --- recovery

  guardians (did) {
    const histories = this.histories()
    const { guardians, dids } = histories.get(did)?.newest ?? {}
    require_(guardians, 'space.recovery')
    return new Map(dids.filter((one) => histories.has(one)).map((one) => [one, histories.get(one).votingKeys]))
  }

  case_ (id) {
    const found = this.of('recovery').find((one) => hex(one.id) === id) ?? refuse('space.recovery')
    return { did: hex(found.body.get('did')), epoch: this.named(hex(found.body.get('epoch'))) }
  }

  checkRecovery (one) {
    this.named(hex(one.body.get('epoch')))
    const heir = openIdentity(one.body.get('identity'))
    const did = hex(one.body.get('did'))
    require_(heir.did !== did && this.guardians(did).has(hex(one.author)), 'space.recovery')
  }

  recovered () { return this.found('recovered', () => this.findRecovered()) }

  findRecovered () {
    return this.standing('recovery').filter((one) => {
      const [id, did] = [hex(one.id), hex(one.body.get('did'))]
      const epoch = this.epochs().find((each) => each.id === hex(one.body.get('epoch')))
      const named = this.histories().get(did)?.newest?.guardians
      if (!epoch || !named) return false
      const voters = this.votersOf(epoch)
      return this.decided(`recover/${id}`, this.guardians(did), named.get('needed'), id) &&
        this.decided(`recovered/${id}`, voters, quorum(voters.size), id)
    })
  }

  // --- members and credentials

  founded () { return this.decided('charter', this.votersOf(this.first), this.first.seats.size, hex(this.id)) }

  // The decisions that made somebody a member: a seat, an admission, a recovery.
  grants (did) {
    const history = this.histories().get(did)
    const revision = (id) => history?.known.find((one) => one.id === id)?.revision ?? -1
    const seats = this.epochs().filter((one) => one.seats.has(did)).map((one) => ({ epoch: one.number, revision: revision(one.seats.get(did)) }))
    const heirs = this.recovered().map((one) => ({ heir: openIdentity(one.body.get('identity')), epoch: this.named(hex(one.body.get('epoch'))).number }))
    const recovered = heirs.filter(({ heir }) => heir.did === did).map(({ heir, epoch }) => ({ epoch, revision: heir.revision }))
    return [...seats, ...this.admissions(did), ...recovered]
  }

  // A join counts if it answers an invite for its author, in time (P3, P4).
  admissions (did) { return this.found(`admissions ${did}`, () => this.findAdmissions(did)) }

  findAdmissions (did) {
    return this.standing('join').filter((join) => hex(join.author) === did).flatMap((join) => {
      const invite = this.standing('invite').find((one) => same(one.id, join.body.get('invite')))
      const guest = invite && openIdentity(invite.body.get('identity'))
      if (!guest || guest.did !== did || join.at > invite.body.get('until')) return []
      const id = hex(join.id)
      return this.epochs().filter((epoch) => {
        const voters = this.votersOf(epoch)
        return this.decided(`admit/${epoch.id.slice(0, 32)}/${id}`, voters, quorum(voters.size), id)
      }).map((epoch) => ({ epoch: epoch.number, revision: guest.revision }))
    })
  }

  isMember (did) {
    const gone = this.departures(did)
    return this.founded() && this.histories().has(did) && this.grants(did).some((one) => gone.every((each) => outlives(one, each)))
  }

  hasCredential (did, now) {
    const revoked = (one) => this.standing('credential-revocation').some((each) => same(each.body.get('credential'), one.id) && same(each.author, one.author))
    return this.standing('credential').some((one) => same(one.body.get('subject'), did) && one.body.get('until') > now &&
      trusts(this.epochs().at(-1).terms, one.author) && !revoked(one))
  }
}

const identityIn = (one) => openIdentity(one.body.get('identity'))

const trusts = (terms, did) => terms.get('registrars').some((one) => same(one, did))

function outlives (grant, gone) {
  return gone.epoch !== undefined ? grant.epoch > gone.epoch : grant.revision > gone.revision
}
