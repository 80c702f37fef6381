import { expect, test } from 'vitest'
import { CHANGE_KEYWORDS, commitSchema } from '#shared/protocol/builds.ts'
import { EMPTY_DRAFT } from './image-draft.ts'
import { withChanges } from './told-changes.ts'

const apply = (...changes: string[]) => withChanges(EMPTY_DRAFT, { changes, author: undefined }).state.config

test('instructions of the configuration are applied in their order', () => {
  const config = apply(
    'ENV A=1',
    'CMD ["run", "it"]',
    'LABEL a=b c="d e"',
    'EXPOSE 80 90/udp',
    'USER app',
    'WORKDIR /srv',
    'ENV B=$A',
  )
  expect(config).toMatchObject({
    ...{ Cmd: ['run', 'it'], Labels: { a: 'b', c: 'd e' }, User: 'app', WorkingDir: '/srv' },
    ExposedPorts: { '80/tcp': {}, '90/udp': {} },
  })
  expect(config.Env).toEqual(expect.arrayContaining(['A=1', 'B=1']))
})

test('an author', () => {
  expect(withChanges(EMPTY_DRAFT, { changes: [], author: 'Ada' }).state.author).toBe('Ada')
})

test.each([
  ['RUN true', /changes:2:1: RUN changes files/],
  ['COPY a b', /changes:2:1: COPY changes files/],
  ['FROM busybox', /changes:2:1: FROM can only/],
  ['NONSENSE', /changes:2:1: .*instruction/i],
  ['EXPOSE seven', /changes:2:\d+: /],
])('%s is refused with its place', (change, message) => {
  expect(() => apply('ENV A=1', change)).toThrow(message)
})

test('a command may be empty', () => {
  expect(apply('CMD []').Cmd).toEqual([])
})

const EXAMPLES: Record<(typeof CHANGE_KEYWORDS)[number], string> = {
  ...{ ARG: 'a=b', CMD: 'run', ENTRYPOINT: '["run"]', ENV: 'A=1', EXPOSE: '80', HEALTHCHECK: 'NONE', LABEL: 'a=b' },
  ...{ MAINTAINER: 'Ada', ONBUILD: 'RUN true', SHELL: '["sh"]', STOPSIGNAL: 'SIGINT', USER: 'app', VOLUME: '/data' },
  WORKDIR: '/srv',
}
const takes = (change: string) => commitSchema.safeParse({ tags: ['a:1'], changes: [change] }).success

test.each(CHANGE_KEYWORDS)('the API and the builder take %s', keyword => {
  for (const written of [keyword, keyword.toLowerCase()]) {
    expect(takes(`${written} ${EXAMPLES[keyword]}`)).toBe(true)
    expect(() => apply(`${written} ${EXAMPLES[keyword]}`)).not.toThrow()
  }
})

test.each(['RUN true', 'COPY a b', 'ADD a b', 'FROM a', '"command": []', 'CMDS a', 'ENV'])(
  'the API and the builder refuse %s',
  change => {
    expect(takes(change)).toBe(false)
    expect(() => apply(change)).toThrow()
  },
)
