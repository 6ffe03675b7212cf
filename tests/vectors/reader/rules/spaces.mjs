// A space: changes in two steps, members, recovery, credentials (docs/protocol.md, sections 2 and 3).
// It keeps a list of records; all that holds is found anew from the list, so order cannot matter.

import { groupBy, fields, hex, refuse, require_, same, sha256 } from '../cbor.mjs'
import { History, checkVote, openIdentity, parse, quorum } from '../core.mjs'
import { Feeds } from '../feed.mjs'

const OF_MEMBERS = ['invite', 'leave', 'review'] // count from members alone (P5)

export function checkSpace (space, { now, records, epoch, recovery, member, review, credential }) {
  const feeds = new Feeds('space', space.id, now)
  for (const raw of records) {
    const one = parse(raw)
    if (feeds.check(one, (each) => space.authorise(each))) space.records.push(one)
  }
  const { epochs, recovered } = space.facts()
  require_(!epoch || epochs.at(-1).id === hex(epoch), 'decision.quorum')
  require_(!recovery || recovered.some((one) => same(one.id, recovery)), 'decision.quorum')
  require_(!member || space.isMember(hex(member)), 'space.member')
  require_(!review || space.standing('review').some((one) => same(one.id, review)), 'space.member')
  require_(!credential || space.hasCredential(credential, now), 'credential.expired')
}

export class Space {
  constructor (raw, charter) {
    const founders = charter.get('founders').map((one) => openIdentity(one.get('identity')))
    const dids = founders.map((one) => one.did)
    require_(dids.length > 0 && new Set(dids).size === dids.length, 'topic.opening')
    this.id = sha256(raw)
    this.founders = founders
    this.records = []
    const seats = new Map(founders.map((one) => [one.did, one.id]))
    this.first = { id: hex(this.id), number: 0, seats, terms: charter.get('terms'), removed: [] }
    this.opened = new Map()
  }

  of (kind) { return this.records.filter((one) => one.kind === kind) }

  identityIn (one) {
    if (!this.opened.has(one)) this.opened.set(one, openIdentity(one.body.get('identity')))
    return this.opened.get(one)
  }

  // --- what holds

  facts () {
    if (this.size !== this.records.length) this.find()
    this.size = this.records.length
    return this.known
  }

  // Identities are known from the charter and from `keys`; invites and recoveries that stand show more.
  find () {
    const said = groupBy([...this.founders, ...this.of('keys').map((one) => this.identityIn(one))], (one) => one.did)
    const shown = new Map()
    for (let before = -1; before < shown.size;) {
      before = shown.size
      const others = groupBy([...shown.values()], (one) => one.did)
      const dids = [...new Set([...said.keys(), ...others.keys()])]
      this.known = { recovered: [], histories: new Map(dids.map((did) => [did, new History(said.get(did) ?? [], others.get(did))])) }
      this.known.epochs = [this.first]
      for (let next; (next = this.after(this.known.epochs.at(-1)));) this.known.epochs.push(next)
      this.findGrants()
      const recovered = this.findRecovered()
      if (recovered.length > 0) { // what a recovery voids had its say in it
        this.known.recovered = recovered
        this.findGrants()
      }
      for (const one of [...this.standing('recovery'), ...this.standing('invite')]) shown.set(this.identityIn(one).id, this.identityIn(one))
    }
  }

  // The decisions that made somebody a member. Begun with seats and heirs; each admission may let more
  // records stand, and so more admissions: what only itself would make stand does not stand.
  findGrants () {
    const { histories, epochs, recovered } = this.known
    const revision = (did, id) => histories.get(did)?.known.find((one) => one.id === id)?.revision ?? -1
    const seats = epochs.flatMap((epoch) => [...epoch.seats].map(([did, id]) => ({ did, epoch: epoch.number, revision: revision(did, id) })))
    for (let before = -1, joins = []; before < joins.length;) {
      before = joins.length
      const decided = [...seats, ...joins]
      const heirs = recovered.filter((one) => decided.some((each) => each.did === hex(one.body.get('did'))))
        .map((one) => ({ did: this.identityIn(one).did, epoch: this.named(hex(one.body.get('epoch'))).number, revision: this.identityIn(one).revision }))
      this.known.grants = groupBy([...decided, ...heirs], (one) => one.did)
      this.known.gone = groupBy(this.findGone(), (one) => one.did)
      joins = this.findAdmissions()
    }
  }

  grants (did) { return this.known.grants.get(did) ?? [] }

  findGone () {
    const { histories, epochs, recovered } = this.known
    const removed = epochs.flatMap((epoch) => epoch.removed.map((one) => ({ did: hex(one.get('did')), epoch: epoch.number - 1, by: epoch.id, pins: one.get('pins') })))
    const lost = recovered.map((one) => ({ did: hex(one.body.get('did')), epoch: this.named(hex(one.body.get('epoch'))).number, by: hex(one.id), pins: one.body.get('pins') }))
    const decided = [...removed, ...lost]
    const leaves = this.of('leave').filter((one) => histories.get(hex(one.author))?.stands(one) &&
      decided.every((gone) => gone.did !== hex(one.author) || withinPin(gone, one) !== false))
    const own = (one) => new Map([['key', one.key], ['seq', one.seq], ['head', one.id]])
    const left = leaves.map((one) => ({ did: hex(one.author), revision: one.body.get('revision'), by: hex(one.id), pins: [...one.body.get('pins'), own(one)] }))
    return [...decided, ...left]
  }

  // A join counts if it answers an invite for its author, in time; of several the first (P3, P4).
  findAdmissions () {
    const invites = new Map(this.standing('invite').map((one) => [hex(one.id), one]))
    const answers = this.standing('join').filter((join) => {
      const invite = invites.get(hex(join.body.get('invite')))
      return invite && this.identityIn(invite).did === hex(join.author) && join.at <= invite.body.get('until')
    })
    const place = (join) => hex(join.key) + hex(join.body.get('invite'))
    const first = answers.filter((one) => answers.every((other) => place(other) !== place(one) || other.seq >= one.seq))
    return first.flatMap((join) => this.known.epochs.filter((epoch) => {
      const [id, voters] = [hex(join.id), this.votersOf(epoch)]
      return this.decided(`admit/${epoch.id.slice(0, 32)}/${id}`, voters, quorum(voters.size), id)
    }).map((epoch) => ({ did: hex(join.author), epoch: epoch.number, revision: this.identityIn(invites.get(hex(join.body.get('invite')))).revision })))
  }

  founded () { return this.decided('charter', this.votersOf(this.first), this.first.seats.size, hex(this.id)) }

  isMember (did) {
    const gone = this.known.gone.get(did) ?? []
    return this.founded() && this.known.histories.has(did) && this.grants(did).some((one) => gone.every((each) => outlives(one, each)))
  }

  hasCredential (did, now) {
    const revoked = (one) => this.standing('credential-revocation').some((each) => same(each.body.get('credential'), one.id) && same(each.author, one.author))
    return this.standing('credential').some((one) => same(one.body.get('subject'), did) && one.body.get('until') > now &&
      trusts(this.known.epochs.at(-1).terms, one.author) && !revoked(one))
  }

  // --- which records stand (P5, P15, P16, P18, I14)

  standing (kind) { return this.of(kind).filter((one) => this.stands(one)) }

  stands (one) {
    const did = hex(one.author)
    const history = this.known.histories.get(did)
    if (!history?.stands(one) || !this.isPresent(one, history)) return false
    return !OF_MEMBERS.includes(one.kind) || (this.grants(did).length > 0 && this.founded())
  }

  isPresent (one, history) {
    const did = hex(one.author)
    return decides(one) || (this.known.gone?.get(did) ?? []).every((gone) => {
      if (slotOf(one) === `recovered/${gone.by}`) return true
      const within = withinPin(gone, one)
      if (within !== undefined) return within
      if (gone.revision !== undefined || one.kind === 'join') return true
      const since = Math.min(...this.grants(did).filter((each) => outlives(each, gone)).map((each) => each.revision))
      return history.naming(hex(one.key)).some((each) => each.revision >= since)
    })
  }

  // The gate refuses what a pin ended; what a later decision may bring back it takes (G5).
  isEnded (one) {
    const gone = this.known.gone.get(hex(one.author)) ?? []
    return !decides(one) && gone.some((each) => slotOf(one) !== `recovered/${each.by}` && withinPin(each, one) === false)
  }

  // --- votes

  votersOf (epoch) {
    return new Map([...epoch.seats.keys()].map((did) => [did, this.known.histories.get(did)?.votingKeys ?? []]))
  }

  decided (slot, voters, needed, subject) {
    const yes = this.of('vote').filter((one) => slotOf(one) === slot && one.body.get('choice') === 'yes' &&
      hex(one.body.get('subject')) === subject && voters.get(hex(one.author))?.includes(hex(one.key)) && this.stands(one))
    return new Set(yes.map((one) => hex(one.author))).size >= needed
  }

  after (epoch) {
    const voters = this.votersOf(epoch)
    const final = (change, round) => ['change', 'confirm'].every((step) =>
      this.decided(`${step}/${epoch.id}/${round}`, voters, quorum(voters.size), hex(change.id)))
    const proposed = this.of('change').filter((one) => hex(one.body.get('epoch')) === epoch.id)
    for (let round = 0; proposed.length > 0 && round < 256; round++) {
      const change = proposed.find((one) => final(one, round))
      if (change) return begun(change, epoch.number + 1)
    }
  }

  named (id) { return this.known.epochs.find((one) => one.id === id) ?? refuse('space.epoch') }

  guardians (did) {
    const { histories } = this.known
    const { guardians, dids } = histories.get(did)?.newest ?? {}
    require_(guardians, 'space.recovery')
    return new Map(dids.filter((one) => histories.has(one)).map((one) => [one, histories.get(one).votingKeys]))
  }

  findRecovered () {
    const { epochs, histories } = this.known
    const found = this.standing('recovery').filter((one) => {
      const [id, did] = [hex(one.id), hex(one.body.get('did'))]
      const epoch = epochs.find((each) => each.id === hex(one.body.get('epoch')))
      const named = histories.get(did)?.newest?.guardians
      if (!epoch || !named) return false
      const voters = this.votersOf(epoch)
      return this.decided(`recover/${id}`, this.guardians(did), named.get('needed'), id) &&
        this.decided(`recovered/${id}`, voters, quorum(voters.size), id)
    })
    const of = groupBy(found.sort((a, b) => Buffer.compare(a.id, b.id)), (one) => hex(one.body.get('did')))
    return [...of.values()].map(([one]) => one)
  }

  // --- the gate

  authorise (one) {
    const did = hex(one.author)
    const history = this.facts().histories.get(did) ?? refuse('record.author')
    if (one.kind === 'keys') return this.checkKeys(one, history)
    history.maySign(one)
    require_(!this.isEnded(one), 'space.removed')
    switch (one.kind) {
      case 'vote': return this.checkVote(one, slotOf(one))
      case 'change': return this.checkChange(one)
      case 'recovery': return this.checkRecovery(one)
      case 'veto': return require_(this.case_(hex(one.body.get('recovery'))).did === did, 'space.recovery')
      case 'credential':
      case 'credential-revocation':
        return require_(this.known.epochs.some((each) => trusts(each.terms, one.author)), 'credential.issuer')
      case 'invite': return this.identityIn(one)
      case 'join':
      case 'leave': return require_(history.votingKeys.includes(hex(one.key)), 'space.invite')
    }
  }

  checkKeys (one, history) {
    const brought = this.identityIn(one)
    require_(brought.did === hex(one.author), 'record.author')
    new History([...history.said, brought], history.known).maySign(one)
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
    const epoch = this.known.epochs.find((each) => each.id.slice(0, 32) === first) ?? refuse('space.epoch')
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

  case_ (id) {
    const found = this.standing('recovery').find((one) => hex(one.id) === id) ?? refuse('space.recovery')
    return { did: hex(found.body.get('did')), epoch: this.named(hex(found.body.get('epoch'))) }
  }

  checkRecovery (one) {
    this.named(hex(one.body.get('epoch')))
    const [heir, did] = [this.identityIn(one), hex(one.body.get('did'))]
    require_(heir.did !== did && this.guardians(did).has(hex(one.author)), 'space.recovery')
  }
}

const slotOf = (one) => one.kind === 'vote' ? one.body.get('slot') : ''

// The rule of an epoch says who votes in it: no removal undoes what decided it.
const decides = (one) => one.kind === 'keys' || /^(charter$|change\/|confirm\/)/.test(slotOf(one))

const trusts = (terms, did) => terms.get('registrars').some((one) => same(one, did))

const outlives = (grant, gone) => gone.epoch !== undefined ? grant.epoch > gone.epoch : grant.revision > gone.revision

function withinPin (gone, one) { // undefined: its key has no pin
  const pin = gone.pins.findLast((each) => same(each.get('key'), one.key))
  return pin && (one.seq < pin.get('seq') || (one.seq === pin.get('seq') && same(one.id, pin.get('head'))))
}

function begun (change, number) {
  const { members, terms, removed } = fields(change.body)
  const seats = new Map(members.map((one) => [hex(one.get('did')), hex(one.get('identity'))]))
  return { id: hex(change.id), number, seats, terms, removed }
}
