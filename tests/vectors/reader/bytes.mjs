// Bytes: deterministic CBOR, digests and signatures (docs/protocol.md section 1, R1 and R3).

import { createHash, createPublicKey, verify } from 'node:crypto'
import { Tokenizer, Type, decodeFirst, encode, rfc8949EncodeOptions } from 'cborg'

export class Refused extends Error {}
export const refuse = (code) => { throw new Refused(code) }
export const require_ = (good, code) => good || refuse(code)
export const same = (one, other) => Buffer.compare(one, other) === 0
export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const sha256 = (bytes) => createHash('sha256').update(bytes).digest()

// --- deterministic CBOR -----------------------------------------------------------------------

const RECORD = 65536
const DEPTH = 12
export const isBytes = (value) => value instanceof Uint8Array
export const isInteger = (value) => typeof value === 'bigint' || Number.isInteger(value)
export const pack = (value) => encode(value, rfc8949EncodeOptions)

class Strict extends Tokenizer {
  next () {
    const from = this.pos()
    const token = super.next()
    require_(!Type.equals(token.type, Type.float), 'codec.malformed')
    if (Type.equals(token.type, Type.string)) {
      const text = Buffer.from(token.value, 'utf8')
      const read = this.data.subarray(Math.max(from, this.pos() - text.length), this.pos())
      require_(same(text, read), 'codec.malformed') // else it was not UTF-8
    }
    return token
  }
}

export function unpack (data, limit = RECORD) {
  require_(data.length <= limit, 'codec.too-large')
  const options = { useMaps: true, rejectDuplicateMapKeys: true, allowIndefinite: false, allowUndefined: false, allowBigInt: true }
  let value, rest
  try {
    [value, rest] = decodeFirst(data, { ...options, tokenizer: new Strict(data, options) })
  } catch (error) {
    refuse('codec.malformed')
  }
  checkPlain(value, DEPTH)
  require_(rest.length === 0 && same(pack(value), data), 'codec.not-deterministic')
  return value
}

function checkPlain (value, depth) {
  require_(depth >= 0, 'codec.malformed')
  if (value === null || typeof value === 'boolean' || typeof value === 'string' || isBytes(value)) return
  if (isInteger(value)) return require_(value >= -(2n ** 63n) && value < 2n ** 64n, 'codec.malformed')
  if (Array.isArray(value)) return value.forEach((item) => checkPlain(item, depth - 1))
  require_(value instanceof Map, 'codec.malformed')
  const keys = [...value.keys()]
  const small = (key) => Number.isInteger(key) && key >= 0 && key < 24
  require_(keys.every((key) => typeof key === 'string') || keys.every(small), 'codec.malformed')
  value.forEach((item) => checkPlain(item, depth - 1))
}

// --- signatures --------------------------------------------------------------------------------

const P = 2n ** 255n - 19n
const SMALL_ORDER = new Set([ // y of the points whose order divides 8
  0n, 1n, P - 1n,
  0x05ac9bc3ecd3c0b2e5ba0a2ab2d6ae0c2fc4a6fb83bdbdca7c0cd21ebb4f5fc7n,
  0x7a53643c132c3f4d1a45f5d54d2951f3d03b59047c42423583f32de144b0a026n
])

function checkPoint (bytes) {
  const y = BigInt('0x' + hex(Buffer.from(bytes).reverse())) & (2n ** 255n - 1n)
  require_(y < P && !SMALL_ORDER.has(y), 'record.signature')
}

const PREFIX = Buffer.from('302a300506032b6570032100', 'hex') // SubjectPublicKeyInfo, RFC 8410

export function open1 (envelope, context) {
  const shaped = Array.isArray(envelope) && envelope.length === 4 &&
    isBytes(envelope[0]) && envelope[1] instanceof Map && isBytes(envelope[2]) && isBytes(envelope[3])
  require_(shaped, 'shape.mismatch')
  const [outer, unprotected, payload, signature] = envelope
  require_(unprotected.size === 0, 'record.algorithm')
  const header = unpack(outer)
  require_(header instanceof Map && header.size === 2 && header.get(1) === -19, 'record.algorithm')
  const key = header.get(4)
  require_(isBytes(key) && key.length === 32, 'record.algorithm')
  const signed = pack(['Signature1', outer, Buffer.from(`village/${context}/v1`), payload])
  require_(signature.length === 64, 'record.signature')
  checkPoint(key)
  checkPoint(signature.subarray(0, 32))
  const spki = createPublicKey({ key: Buffer.concat([PREFIX, key]), format: 'der', type: 'spki' })
  require_(verify(null, signed, spki, signature), 'record.signature')
  return { key, payload, id: sha256(signed) }
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
