import { expect, test } from 'vitest'
import { defaultUpstreams, mirroredName, readUpstreams } from './upstream.ts'

test.each([
  ['docker.io/library/debian', 'docker.io', 'library/debian'],
  ['docker.io/debian', 'docker.io', 'library/debian'],
  ['index.docker.io/debian', 'docker.io', 'library/debian'],
  ['GHCR.io/a/b', 'ghcr.io', 'a/b'],
  ['registry.example.com:5000/a', 'registry.example.com:5000', 'a'],
  ['localhost/a', 'localhost', 'a'],
])('%s is %s at %s', (name, registry, remote) => {
  expect(mirroredName(name)).toEqual({ registry, remote })
})

test.each(['debian', 'library/debian', 'team/app.web'])('%s names no registry', name => {
  expect(mirroredName(name)).toBeUndefined()
})

test('the well-known registries need no configuration', () => {
  const hub = defaultUpstreams().find(({ registry }) => registry === 'docker.io')
  expect(hub).toEqual({
    registry: 'docker.io',
    endpoints: [{ url: 'https://registry-1.docker.io' }],
    tagTtlMs: 600_000,
  })
})

test('credentials are for the registry itself, not for its mirrors', () => {
  const [upstream] = readUpstreams(
    JSON.stringify([
      {
        registry: 'docker.io',
        endpoints: ['https://mirror.example/', 'https://registry-1.docker.io'],
        username: 'u',
        password: 'p',
      },
    ]),
  )
  expect(upstream?.endpoints).toEqual([
    { url: 'https://mirror.example' },
    { url: 'https://registry-1.docker.io', username: 'u', password: 'p' },
  ])
})

test.each([
  ['[{"registry": "docker.io", "password": "sesame"}]'],
  ['[{"registry": "docker.io", "username": "u", "password": "sesame"'],
  ['[{"registry": "docker.io", "endpoints": ["https://u:sesame@mirror.example"]}]'],
  ['[{"registry": "docker.io", "endpoints": ["ftp://sesame"]}]'],
  ['[{"registry": "sesame"}]'],
  ['[{"registry": "a.example", "username": "u", "password": "sesame"}, {"registry": "a.example"}]'],
])('%s is refused, and its secrets are not shown', text => {
  const refused = () => readUpstreams(text)
  expect(refused).toThrow(expect.objectContaining({ code: 'upstream.config-invalid' }))
  expect(refused).not.toThrow(/sesame/)
})
