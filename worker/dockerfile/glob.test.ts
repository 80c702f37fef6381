import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pathPattern, segmentPattern } from './glob.ts'

describe('a pattern of one segment', () => {
  test.each([
    ['*.jar', 'a.jar', true],
    ['*.jar', '.jar', true],
    ['*.jar', 'a.jars', false],
    ['a*b*c', 'aXbYbZc', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['?', 'é', true],
    ['?', '😀', true],
    ['[a-c]x', 'bx', true],
    ['[^a-c]x', 'bx', false],
    ['[a\\]]', ']', true],
    ['[-a]', '-', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a.c', 'abc', false],
    ['a**', 'ab', true],
    ['', '', true],
  ])('%s against %s is %s', (pattern, name, expected) => {
    expect(segmentPattern(pattern)?.([...name])).toBe(expected)
  })

  test.each(['[z-a]', '[', '[]', 'x'.repeat(4097)])('%s is no pattern', pattern => {
    expect(segmentPattern(pattern)).toBeUndefined()
  })

  test('many stars take no time', () => {
    const match = segmentPattern(`${'*a'.repeat(100)}b`)
    const startedAt = performance.now()
    expect(match?.([...'a'.repeat(255)])).toBe(false)
    expect(performance.now() - startedAt).toBeLessThan(200)
  })

  test('stars and letters are what the same regular expression finds', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 })
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 })
    fc.assert(
      fc.property(letters, name, (pattern, text) => {
        const expected = new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(text)
        expect(segmentPattern(pattern)?.([...text])).toBe(expected)
      }),
    )
  })
})

test('a pattern of a path is what the regular expression of Docker finds', () => {
  const pieces = { a: 'a', b: 'b', '/': '/', '*': '[^/]*', '**': '.*', '**/': '(.*/)?' }
  const piece = fc.constantFrom('a', 'b', '/', '*', '**/')
  const path = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 10 })
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), fc.boolean(), path, (parts, isDeep, text) => {
      // A star before two stars would be two stars and one.
      fc.pre(!parts.some((part, at) => part === '*' && (parts[at + 1] ?? (isDeep ? '*' : '')).startsWith('*')))
      const all = isDeep ? [...parts, '**' as const] : parts
      const expected = new RegExp(`^${all.map(part => pieces[part]).join('')}$`).test(text)
      expect(pathPattern(all.join(''))?.([...text])).toBe(expected)
    }),
    { numRuns: 500 },
  )
})
