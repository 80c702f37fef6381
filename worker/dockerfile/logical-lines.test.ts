import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseDockerfile } from './dockerfile.ts'
import { placeOf } from './instruction.ts'

const word = fc.stringMatching(/^[a-z]{1,8}$/)
/** What may stand between two words: a blank, or the end of a line with what is left out behind it. */
const gap = fc.constantFrom(' ', ' \\\n', ' \\ \n  ', ' \\\n# a comment\n', ' \\\n\n', ' \\\r\n')

test('however an instruction is broken into lines, its words are the same, each at its place (seeded)', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(word, { minLength: 1, maxLength: 12 }),
      fc.array(gap, { minLength: 12 }),
      (words, gaps) => {
        const body = words.map((text, at) => (gaps[at] ?? ' ') + text).join('')
        const text = `FROM scratch\nRUN${body}\n`
        const [run] = parseDockerfile(text, 'Dockerfile').stages[0]?.instructions ?? []
        expect(run?.text.split(/\s+/)).toEqual(words)
        const lines = text.split('\n')
        for (const wanted of words) {
          if (!run || words.some(other => other !== wanted && other.includes(wanted))) continue
          const { line, column } = placeOf(run, wanted)
          expect(lines[line - 1]?.slice(column - 1)).toMatch(new RegExp(`^${wanted}`))
        }
      },
    ),
  )
})

test('a here-document is its lines as they are, whatever they hold (seeded)', () => {
  const line = fc.stringMatching(/^[ -~\t]{0,30}$/).filter(text => text.replace(/^\t+/, '') !== 'EOF')
  fc.assert(
    fc.property(fc.array(line), fc.constantFrom('<<EOF', '<<-EOF', '<<"EOF"'), (lines, opener) => {
      const text = `FROM scratch\nRUN ${opener}\n${lines.map(inside => `${inside}\n`).join('')}EOF\nUSER after\n`
      const found = parseDockerfile(text, 'Dockerfile').stages[0]?.instructions ?? []
      expect(found[0]?.heredocs[0]?.text).toBe(lines.map(inside => `${inside}\n`).join(''))
      expect(found[1]).toMatchObject({ keyword: 'USER', text: 'after', line: lines.length + 4 })
    }),
  )
})

test('no text makes the parser do anything but answer or refuse (seeded)', () => {
  const piece = fc.constantFrom(
    'FROM a',
    'RUN',
    '<<EOF',
    'EOF',
    '\\',
    '\n',
    ' ',
    '"',
    "'",
    '${',
    '}',
    '[',
    ']',
    '--mount=',
    '#',
    'ONBUILD ',
    '\t',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
      try {
        parseDockerfile(pieces.join(''), 'Dockerfile')
      } catch (error) {
        expect(error).toMatchObject({ code: 'build.dockerfile-invalid' })
      }
    }),
  )
})
