import { expect, test } from 'vitest'
import { statusCall, usualApi } from './commit-status.ts'

const target = { api: 'https://forge.example/api', secret: 's', commit: 'abc', context: 'slipway/app' }
const link = 'https://slipway.example/v1/builds/b'

test('each forge is told in its own words', () => {
  const github = statusCall({ ...target, kind: 'github', repository: 'team/app' }, 'failed', link, 'token')
  expect(github.url).toBe('https://forge.example/api/repos/team/app/statuses/abc')
  expect(github.headers.authorization).toBe('Bearer token')
  expect(github.body).toMatchObject({ state: 'failure', target_url: link, context: 'slipway/app' })
  const gitea = statusCall({ ...target, kind: 'gitea', repository: 'team/app' }, 'canceled', link, 'token')
  expect(gitea.headers.authorization).toBe('token token')
  expect(gitea.body.state).toBe('error')
  const gitlab = statusCall({ ...target, kind: 'gitlab', repository: 'a/b/c' }, 'running', link, 'token')
  expect(gitlab.url).toBe('https://forge.example/api/projects/a%2Fb%2Fc/statuses/abc')
  expect(gitlab.headers).toEqual({ 'private-token': 'token' })
  expect(gitlab.body).toMatchObject({ state: 'running', name: 'slipway/app' })
})

test('a repository’s name leads nowhere else', () => {
  const { url } = statusCall({ ...target, kind: 'github', repository: '../../x?y/z#' }, 'queued', link, 't')
  expect(new URL(url).search + new URL(url).hash).toBe('')
})

test('the usual place of each forge’s API', () => {
  expect(usualApi('github', 'https://github.com/team/app')).toBe('https://api.github.com')
  expect(usualApi('github', 'git@github.com:team/app.git')).toBe('https://api.github.com')
  expect(usualApi('github', 'https://ghe.example/team/app')).toBe('https://ghe.example/api/v3')
  expect(usualApi('gitlab', 'https://gitlab.com/team/app')).toBe('https://gitlab.com/api/v4')
  expect(usualApi('gitea', 'https://codeberg.org/team/app')).toBe('https://codeberg.org/api/v1')
  expect(usualApi('gitea', 'https://forge.example:8443/team/app')).toBe('https://forge.example:8443/api/v1')
  expect(usualApi('gitea', 'http://[fd00::1]:3000/team/app')).toBe('http://[fd00::1]:3000/api/v1')
  expect(usualApi('gitlab', 'ssh://git@forge.example:2222/team/app')).toBe('https://forge.example/api/v4')
})
