// What needs the rules of topics, beyond the format: openings, spaces, withdrawals, receipts of people.

import { fields, unpack } from '../cbor.mjs'
import { openToken } from '../feed.mjs'
import { checkStop, readOpening } from './openings.mjs'
import { checkReceipt } from './receipts.mjs'
import { checkSpace } from './spaces.mjs'

const parts = (data) => fields(unpack(data))

export const JUDGES = {
  opening: readOpening,
  token: (data) => openToken(parts(data).token, parts(data).kind),
  stop: (data) => checkStop(parts(data)),
  space: (data) => checkSpace(readOpening(parts(data).charter), parts(data)),
  receipt: checkReceipt
}
