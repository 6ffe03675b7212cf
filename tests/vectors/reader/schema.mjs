// Shapes: reads protocol/records.cddl, as much of CDDL (RFC 8610) as that file uses, and checks by it.

import { readFileSync } from 'node:fs'
import { isBytes, isInteger, refuse, require_ } from './cbor.mjs'

const FILE = new URL('../../../protocol/records.cddl', import.meta.url)
const RULES = new Map(
  readFileSync(FILE, 'utf8').replace(/\s*;.*/g, '').split(/\n(?=[\w-]+ = )/)
    .map((rule) => rule.trim().split(/ = ([^]*)/)).filter(([name]) => name)
)
const MADE = new Map() // text of a type -> its check

export const fits = (type, value) => require_(check(type)(value), 'shape.mismatch')
export const fieldOf = (rule, field) => new RegExp(`"${field}": (.*),`).exec(RULES.get(rule))?.[1]

function check (type) {
  if (!MADE.has(type)) MADE.set(type, make(type.trim()))
  return MADE.get(type)
}

const within = (low, high) => (value) => isInteger(value) && value >= low && value <= high
const size = (value) => isBytes(value) ? value.length : Buffer.byteLength(value)
const isText = (value) => typeof value === 'string'

function make (type) {
  const [, inner] = /^\((.*)\)$/s.exec(type) ?? []
  if (inner) return make(inner)
  if (/^[^[{]* \/ /.test(type)) {
    const choices = type.split(' / ').map(check)
    return (value) => choices.some((good) => good(value))
  }
  const [, base, low, high] = /^(bytes|text) \.size \(?(\d+)(?:\.\.(\d+)\))?$/.exec(type) ?? []
  if (base) {
    const sized = within(Number(low), Number(high ?? low))
    return (value) => check(base)(value) && sized(size(value))
  }
  if (/^-?\d+$/.test(type)) return (value) => value === Number(type)
  const range = /^(\d+)\.\.(\d+)$/.exec(type)
  if (range) return within(Number(range[1]), Number(range[2]))
  if (type.startsWith('"')) return (value) => value === type.slice(1, -1)
  if (type.startsWith('[')) return makeList(type)
  if (type.startsWith('{')) return makeMap(type)
  const simple = { bytes: isBytes, text: isText, tstr: isText, int: isInteger, bool: (value) => typeof value === 'boolean', null: (value) => value === null }
  if (simple[type]) return simple[type]
  require_(RULES.has(type), 'shape.mismatch')
  return (value) => check(RULES.get(type))(value)
}

function makeList (type) {
  const [, most, item] = /^\[(?:0\*(\d+)|\*) (.*)\]$/.exec(type) ?? refuse('shape.mismatch')
  return (value) => Array.isArray(value) && value.length <= Number(most ?? Infinity) && value.every(check(item))
}

function makeMap (type) {
  const [, most, item] = /^\{ 0\*(\d+) tstr => (.*) \}$/.exec(type) ?? []
  if (item) return (value) => value instanceof Map && value.size <= Number(most) && [...value].every(([key, one]) => isText(key) && check(item)(one))
  const fields = [...type.matchAll(/^ {2}(\? )?"([\w-]+)": (.+),$/gm)]
  const known = new Set(fields.map(([, , name]) => name))
  return (value) => value instanceof Map && [...value.keys()].every((key) => known.has(key)) &&
    fields.every(([, optional, name, one]) => value.has(name) ? check(one)(value.get(name)) : optional)
}
