import { expect, test } from 'vitest'
import { allows, parseRepository, scopeSchema } from './repository.ts'

test.each(['a', 'a/b', 'docker.io/library/debian', 'a__b/c-d.e', 'a--b', 'a.example:5000/b'])(
  '%s is a repository',
  name => {
    expect(parseRepository(name)).toBe(name)
  },
)

test.each([
  '',
  'A',
  '/a',
  'a/',
  'a//b',
  '../a',
  'a/../b',
  '.a',
  'a-',
  'a___b',
  'a:b',
  'a:b/c',
  ':5/b',
  'a/b:5/c',
  `${'a'.repeat(256)}`,
])('%s is none', name => {
  expect(() => parseRepository(name)).toThrow(expect.objectContaining({ code: 'repository.name-invalid' }))
})

test.each([
  [null, 'any/thing', 'delete', true],
  [[], 'a', 'pull', false],
  [['repository:team/*:pull,push'], 'team/app', 'push', true],
  [['repository:team/*:pull,push'], 'team/app', 'delete', false],
  [['repository:team/*:pull'], 'teams/app', 'pull', false],
  [['repository:team:pull'], 'team/app', 'pull', false],
  [['repository:*/app:pull'], 'a/b/app', 'pull', true],
  [['repository:a*a:pull'], 'a', 'pull', false],
  [['repository:a*b*c:pull'], 'a-b-c', 'pull', true],
  [['repository:*:pull'], 'x', 'pull', true],
  [['repository:a.example:5000/*:pull'], 'a.example:5000/b', 'pull', true],
] as const)('%j and %s: %s is %s', (scopes, repository, action, expected) => {
  expect(allows(scopes, repository, action)).toBe(expected)
})

test.each(['repository:a', 'registry:catalog:*', 'repository:a:admin', 'repository:A:pull', 'repository:a:pull,'])(
  '%s is no scope',
  text => {
    expect(scopeSchema.safeParse(text).success).toBe(false)
  },
)
