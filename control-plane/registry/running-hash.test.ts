import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nativeHash, resumableHash } from './running-hash.ts'

const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 })
const expected = (all: Uint8Array[]) => `sha256:${createHash('sha256').update(Buffer.concat(all)).digest('hex')}`

test('whatever the pieces are, and wherever it is put by, the digest is that of the whole', () => {
  fc.assert(
    fc.property(pieces, all => {
      const native = nativeHash()
      let resumed = resumableHash()
      for (const [at, piece] of all.entries()) {
        native.update(piece)
        resumed.update(piece)
        const digest = expected(all.slice(0, at + 1))
        expect([native.digest(), resumed.digest()]).toEqual([digest, digest])
        resumed = resumableHash(resumed.state())
      }
      expect([native.digest(), resumed.digest()]).toEqual([expected(all), expected(all)])
    }),
  )
})

test('a large piece, and a state that is none', () => {
  const hash = resumableHash()
  const bytes = new Uint8Array(5_000_001).fill(7)
  hash.update(bytes)
  expect(resumableHash(hash.state()).digest()).toBe(expected([bytes]))
  expect(() => resumableHash('{"state":[1]}')).toThrow('begin a new one')
})
