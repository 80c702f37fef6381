import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openMaskedLog } from './secret-mask.ts'

/** What is written of a text that comes in these parts. */
function shown(parts: string[], secrets: Record<string, string>, ssh: Record<string, string> = {}): string[] {
  const lines: string[] = []
  const log = openMaskedLog({ secrets, ssh }, (_stream, text) => lines.push(text))
  for (const [at, text] of parts.entries()) log.line({ stream: 'stdout', text, isPartial: at < parts.length - 1 })
  log.close()
  return lines
}

test('each line of a value is hidden, short ones are not', () => {
  expect(shown(['a first-line b second-line c'], { x: 'first-line\nsecond-line\nab' })).toEqual(['a *** b *** c'])
  expect(shown(['abc'], { x: 'abc' })).toEqual(['abc'])
  expect(shown(['a longer-one'], { a: 'long', b: 'longer-one' })).toEqual(['a ***'])
})

test('lines in parts are one line, and an empty line is one', () => {
  expect(shown(['+ ', 'echo', ' x'], {})).toEqual(['+ echo x'])
  expect(shown([''], {})).toEqual([''])
})

test('however a line is cut, no value is in what is written (seeded)', () => {
  const noise = fc.string({ maxLength: 40_000, unit: fc.constantFrom('a', 'b') })
  fc.assert(
    fc.property(noise, noise, fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }), (before, after, sizes) => {
      const text = `${before}top-secret-value${after}`
      const parts: string[] = []
      for (let at = 0, turn = 0; at < text.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 1
        parts.push(text.slice(at, at + size))
        at += size
      }
      const lines = shown(parts, { x: 'top-secret-value' })
      expect(lines.join('')).toBe(`${before}***${after}`)
    }),
    { numRuns: 30 },
  )
})
