// Deterministic CBOR (rule R1), and small words that all files use.

import { createHash } from 'node:crypto'
import { Tokenizer, Type, decodeFirst, encode, rfc8949EncodeOptions } from 'cborg'

export class Refused extends Error {}
export const refuse = (code) => { throw new Refused(code) }
export const require_ = (good, code) => good || refuse(code)
export const same = (one, other) => Buffer.compare(one, other) === 0
export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const sha256 = (bytes) => createHash('sha256').update(bytes).digest()
export const fields = (map) => Object.fromEntries(map)
export const isBytes = (value) => value instanceof Uint8Array
export const isInteger = (value) => typeof value === 'bigint' || Number.isInteger(value)
export const pack = (value) => encode(value, rfc8949EncodeOptions)

class Strict extends Tokenizer { // no floats, and text that is UTF-8
  next () {
    const [from, token] = [this.pos(), super.next()]
    const text = Buffer.from(Type.equals(token.type, Type.string) ? token.value : '')
    const read = this.data.subarray(Math.max(from, this.pos() - text.length), this.pos())
    require_(!Type.equals(token.type, Type.float) && (text.length === 0 || same(text, read)), 'codec.malformed')
    return token
  }
}

export function unpack (data, limit = 65536) {
  require_(data.length <= limit, 'codec.too-large')
  const options = { useMaps: true, rejectDuplicateMapKeys: true, allowIndefinite: false, allowUndefined: false, allowBigInt: true }
  let value, rest
  try {
    [value, rest] = decodeFirst(data, { ...options, tokenizer: new Strict(data, options) })
  } catch {
    refuse('codec.malformed')
  }
  require_(isPlain(value, 12), 'codec.malformed')
  require_(rest.length === 0 && same(pack(value), data), 'codec.not-deterministic')
  return value
}

function isPlain (value, depth) {
  if (depth < 0) return false
  if (value === null || typeof value === 'boolean' || typeof value === 'string' || isBytes(value)) return true
  if (isInteger(value)) return value >= -(2n ** 63n) && value < 2n ** 64n
  if (!Array.isArray(value) && !(value instanceof Map)) return false
  const keys = value instanceof Map ? [...value.keys()] : []
  const small = (key) => Number.isInteger(key) && key >= 0 && key < 24
  if (!keys.every((key) => typeof key === 'string') && !keys.every(small)) return false
  return [...value.values()].every((item) => isPlain(item, depth - 1))
}

// --- digests -----------------------------------------------------------------------------------

export function eightBytes (number) {
  const found = Buffer.alloc(8)
  found.writeBigUInt64BE(BigInt(number))
  return found
}

export function domainDigest (domain, ...parts) {
  const sized = parts.flatMap((part) => [eightBytes(part.length), part])
  return sha256(Buffer.concat([Buffer.from(`village/${domain}/v1\0`), ...sized]))
}

export function groupBy (values, key) {
  const found = new Map()
  for (const one of values) found.set(key(one), [...(found.get(key(one)) ?? []), one])
  return found
}
