import { expect, test } from 'vitest'
import { gitRefSchema, gitUrlSchema } from '#shared/domain/git.ts'
import { redirectTo } from './fetch-tar.ts'
import { isSameServer, submoduleUrl } from './git-address.ts'

test.each([
  ['https://forge.example/team/app.git', '../lib.git', 'https://forge.example/team/lib.git'],
  ['https://forge.example/team/app/', '../../other/lib', 'https://forge.example/other/lib'],
  ['https://forge.example/team/app', './lib', 'https://forge.example/team/app/lib'],
  ['git@forge.example:team/app.git', '../lib.git', 'git@forge.example:team/lib.git'],
  ['https://forge.example/a', 'ssh://git@other.example/b', 'ssh://git@other.example/b'],
  ['http://10.0.0.1:3000/team/app', '../lib', 'http://10.0.0.1:3000/team/lib'],
])('a submodule of %s at %s is at %s', (parent, url, whole) => {
  expect(submoduleUrl(parent, url)).toBe(whole)
})

test.each([
  'file:///etc',
  '/etc',
  'ext::sh -c id',
  '-u./x',
  'http://localhost/x',
  'http://169.254.169.254/x',
  'http://[::1]/x',
  'git@10.0.0.1:x/y',
  'https://user:password@forge.example/x',
])('a submodule at %s is refused', url => {
  expect(() => submoduleUrl('https://forge.example/team/app', url)).toThrow(
    expect.objectContaining({ code: 'source.refused' }),
  )
})

test('a server is protocol, name and port', () => {
  expect(isSameServer('https://a.example/x', 'https://a.example/y')).toBe(true)
  expect(isSameServer('git@a.example:x', 'git@a.example:y')).toBe(true)
  expect(isSameServer('https://a.example/x', 'http://a.example/x')).toBe(false)
  expect(isSameServer('https://a.example/x', 'https://a.example:8443/x')).toBe(false)
  expect(isSameServer('http://127.0.0.1:1/x', 'http://127.0.0.1:2/x')).toBe(false)
})

test('what git would read as something else is no URL and no ref', () => {
  const isUrl = (text: string) => gitUrlSchema.safeParse(text).success
  expect(['https://h/p', 'ssh://git@h:22/p', 'git://h/p', 'git@h:p/q.git'].filter(text => !isUrl(text))).toEqual([])
  const hostile = [
    '--upload-pack=x',
    'ssh://-oProxyCommand=x/p',
    '-x@h:p',
    'h:p',
    'file:///p',
    'https://u:p@h/p',
    'ext::x',
  ]
  expect(hostile.filter(isUrl)).toEqual([])
  const isRef = (text: string) => gitRefSchema.safeParse(text).success
  expect(['main', 'feature/ü-1', 'v1.2', 'refs/heads/x', 'a'.repeat(40)].filter(text => !isRef(text))).toEqual([])
  expect(['-x', '+main', 'a:b', 'a b', 'a..b', 'a\n', '@', 'x.lock', '*', 'a^', 'a/', '@{1}'].filter(isRef)).toEqual([
    '+main',
  ])
})

test('a redirect leads into no private network, nor out of https', () => {
  const from = new URL('https://a.example/x.tar')
  const inside = new URL('http://10.0.0.1/x.tar')
  expect(redirectTo('/y.tar', from, from).href).toBe('https://a.example/y.tar')
  expect(redirectTo('http://10.0.0.2/y', inside, inside).href).toBe('http://10.0.0.2/y')
  for (const to of [
    'http://b.example/',
    'https://localhost/',
    'https://10.0.0.1/',
    'file:///etc/passwd',
    'https://u@b.example/',
  ]) {
    expect(() => redirectTo(to, from, from), to).toThrow(expect.objectContaining({ code: 'source.refused' }))
  }
})
