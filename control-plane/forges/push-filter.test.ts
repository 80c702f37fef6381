import { expect, test } from 'vitest'
import type { Push } from './event.ts'
import { matchesGlob } from './glob.ts'
import { imageTags } from './image-tags.ts'
import { whyIgnored } from './push-filter.ts'

test.each([
  ['main', 'main', true],
  ['main', 'mains', false],
  ['*', 'main', true],
  ['*', 'feature/x', false],
  ['**', 'feature/x', true],
  ['feature/*', 'feature/x', true],
  ['feature/**', 'feature/x/y', true],
  ['release-?', 'release-1', true],
  ['v*.*', 'v1.2', true],
  ['**/Dockerfile', 'Dockerfile', true],
  ['**/Dockerfile', 'a/b/Dockerfile', true],
  ['**/Dockerfile', 'a/NotDockerfile', false],
  ['src/**/*.ts', 'src/a.ts', true],
  ['src/**/*.ts', 'src/a/b/c.ts', true],
  ['src/**/*.ts', 'other/a.ts', false],
  ['a+b(c)', 'a+b(c)', true],
  ['ü?', 'ü😀', true],
  ['', '', true],
])('%s and %s: %s', (pattern, text, isMatch) => {
  expect(matchesGlob(pattern, text)).toBe(isMatch)
})

test('a pattern that would keep a backtracking matcher busy for ever is no work', () => {
  expect(matchesGlob('*a'.repeat(100), 'a'.repeat(250))).toBe(true)
  expect(matchesGlob(`${'**/'.repeat(80)}x`, 'a/'.repeat(2000))).toBe(false)
})

const push = (ref: string, paths?: string[]): Push => ({
  kind: 'push',
  ref,
  commit: 'c',
  repository: 'r',
  move: undefined,
  paths,
})

test('branches, tags and paths decide what is built', () => {
  expect(whyIgnored(push('refs/heads/any/thing'), {})).toBeUndefined()
  expect(whyIgnored(push('refs/tags/v1'), {})).toContain('tag v1')
  expect(whyIgnored(push('refs/tags/v1'), { tags: ['v*'] })).toBeUndefined()
  expect(whyIgnored(push('refs/heads/main'), { tags: ['v*'] })).toContain('branch main')
  expect(whyIgnored(push('refs/heads/main'), { tags: ['v*'], branches: ['main'] })).toBeUndefined()
  expect(whyIgnored(push('refs/heads/wip/x'), { branches: ['**', '!wip/**'] })).toContain('wip/x')
  expect(whyIgnored(push('refs/heads/wip/keep'), { branches: ['**', '!wip/**', 'wip/keep'] })).toBeUndefined()
  expect(whyIgnored({ ...push('refs/heads/main'), commit: undefined }, {})).toContain('deleted')
  expect(whyIgnored(push('refs/notes/x'), {})).toContain('neither')
})

test('a push is built when one of its files is looked for, or when not all are known', () => {
  const paths = ['src/**', '!**/*.md']
  expect(whyIgnored(push('refs/heads/main', ['README.md', 'src/x.md']), { paths })).toContain('no file')
  expect(whyIgnored(push('refs/heads/main', ['README.md', 'src/a.ts']), { paths })).toBeUndefined()
  expect(whyIgnored(push('refs/heads/main'), { paths })).toBeUndefined()
})

test('tags are filled in with letters that tags may have', () => {
  const commit = '0123456789abcdef0123456789abcdef01234567'
  const templates = ['app:{branch}', 'app:{tag}', 'app:{branch}-{short}', 'app:{commit}', 'app:latest']
  expect(imageTags(templates, { ref: 'refs/heads/feature/Ünö', commit })).toEqual([
    ...['app:feature--n-', 'app:feature--n--0123456789ab', `app:${commit}`, 'app:latest'],
  ])
  expect(imageTags(templates, { ref: 'refs/tags/v1.2', commit })).toEqual(['app:v1.2', `app:${commit}`, 'app:latest'])
  expect(imageTags(['app:{tag}'], { ref: 'refs/heads/main', commit })).toEqual([])
  expect(imageTags(['a:{branch}'], { ref: `refs/heads/${'x'.repeat(200)}`, commit })[0]).toHaveLength(130)
  expect(imageTags(['a:{branch}'], { ref: 'refs/heads/.-.', commit })).toEqual(['a:x'])
})
