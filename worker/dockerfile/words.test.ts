import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { expandWord, splitWords, WordError } from './words.ts'

const variables = new Map([
  ['a', 'A'],
  ['empty', ''],
  ['spaced', 'x y'],
])

describe('words', () => {
  test.each([
    ['$a', 'A'],
    ['${a}b', 'Ab'],
    ['x$a.y', 'xA.y'],
    ['$unset', ''],
    ['${unset:-d}', 'd'],
    ['${unset-d}', 'd'],
    ['${empty:-d}', 'd'],
    ['${empty-d}', ''],
    ['${a:+yes}', 'yes'],
    ['${empty:+yes}', ''],
    ['${empty+yes}', 'yes'],
    ['${unset:-${a}}', 'A'],
    ['${unset:-"q $a"}', 'q A'],
    ["'$a'", '$a'],
    ['"$a b"', 'A b'],
    ['"\\$a"', '$a'],
    ['\\$a', '$a'],
    ['a\\ b', 'a b'],
    ['$', '$'],
    ['"a\\nb"', 'a\\nb'],
  ])('%s becomes %j', (text, expected) => {
    expect(expandWord(text, variables)).toBe(expected)
  })

  test.each(['${a', '${', "'open", '"open', '${unset:?is needed}', '${a!x}', '${a/x}', '${a:#x}'])(
    '%s is refused',
    text => {
      expect(() => expandWord(text, variables)).toThrow(WordError)
    },
  )

  test.each([
    ['${f#*.}', 'tar.gz'],
    ['${f##*.}', 'gz'],
    ['${f%.*}', 'x.tar'],
    ['${f%%.*}', 'x'],
    ['${f%.gz}', 'x.tar'],
    ['${f%nothing}', 'x.tar.gz'],
    ['${f#?}', '.tar.gz'],
    ['${f/./-}', 'x-tar.gz'],
    ['${f//./-}', 'x-tar-gz'],
    ['${f/.*./-}', 'x-gz'],
    ['${f//[/-}', 'x.tar.gz'],
    ['${p#/*/}', 'b/c'],
    ['${p//\\//:}', ':a:b:c'],
    ['${f/$a/-}', 'x.tar.gz'],
    ['${f/x/$a}', 'A.tar.gz'],
    ['${unset#x}', ''],
    ['${s#\\*}', 'a*'],
  ])('%s becomes %j by its pattern', (text, expected) => {
    const values = new Map([...variables, ['f', 'x.tar.gz'], ['p', '/a/b/c'], ['s', '*a*']] as [string, string][])
    expect(expandWord(text, values)).toBe(expected)
  })

  test('patterns match what an expression without bounds would (seeded)', () => {
    const text = fc.array(fc.constantFrom('a', 'b', '.'), { maxLength: 10 }).map(letters => letters.join(''))
    const pattern = fc.array(fc.constantFrom('a', 'b', '.', '*', '?'), { minLength: 1, maxLength: 6 })
    const expression = (letters: string[], star: string) =>
      letters.map(letter => ({ '*': star, '?': '.', '.': '\\.' })[letter] ?? letter).join('')
    fc.assert(
      fc.property(text, pattern, (value, letters) => {
        const values = new Map([['v', value]])
        const said = (operator: string, tail = '') => expandWord(`\${v${operator}${letters.join('')}${tail}}`, values)
        expect(said('#')).toBe(value.replace(new RegExp(`^${expression(letters, '.*?')}`), ''))
        expect(said('##')).toBe(value.replace(new RegExp(`^${expression(letters, '.*')}`), ''))
        expect(said('%%')).toBe(value.replace(new RegExp(`${expression(letters, '.*')}$`), ''))
        expect(said('/', '/-').length).toBeLessThanOrEqual(value.length + 1)
        const mirror = [...value].reverse().join('')
        const shortest = new RegExp(`^${expression(letters.toReversed(), '.*?')}`)
        expect(said('%')).toBe([...mirror.replace(shortest, '')].reverse().join(''))
        // What matches nothing at the very end is none of ours: `*` there has matched everything before.
        const every = value === '' ? '' : value.replace(new RegExp(`(?=.)${expression(letters, '.*')}`, 'g'), '-')
        expect(said('//', '/-')).toBe(every)
      }),
    )
  })

  test.each(['$l$l', '"$l$l"', '${unset:-$l$l}'])('%s is refused when it becomes too long', text => {
    const long = new Map([['l', 'x'.repeat(100_000)]])
    expect(expandWord('$l', long)).toHaveLength(100_000)
    expect(() => expandWord(text, long)).toThrow(WordError)
  })

  test('split at blanks outside of quotes', () => {
    expect(splitWords('a "b c" d\\ e \'f g\'  h')).toEqual(['a', '"b c"', 'd\\ e', "'f g'", 'h'])
  })

  test('another escape character leaves backslashes alone', () => {
    expect(expandWord('C:\\x`$a', variables, '`')).toBe('C:\\x$a')
  })

  test('plain words are their own expansion, and splitting joined words gives them back', () => {
    const plain = fc.stringMatching(/^[a-zA-Z0-9_./:-]{1,20}$/)
    fc.assert(
      fc.property(fc.array(plain), words => {
        expect(splitWords(words.join(' '))).toEqual(words)
        for (const word of words) expect(expandWord(word, variables)).toBe(word)
      }),
    )
  })
})
