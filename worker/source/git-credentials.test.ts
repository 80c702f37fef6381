import { expect, test } from 'vitest'
import { gitCredentials, masked } from './git-credentials.ts'

const KEY = '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----'

test('a token and a password go to the server of the URL alone, by the environment', () => {
  const { env, config, hidden } = gitCredentials('https://forge.example:8443/team/app', 'user:pass:word\n')
  expect(env).toEqual({ SLIPWAY_GIT_USER: 'user', SLIPWAY_GIT_PASSWORD: 'pass:word' })
  expect(config.map(([key]) => key)).toEqual(['credential.https://forge.example:8443.helper'])
  expect(JSON.stringify(config)).not.toContain('pass:word')
  expect(hidden).toContain(btoa('user:pass:word'))
  expect(gitCredentials('https://h/p', 'tóken').env.SLIPWAY_GIT_USER).toBe('x-access-token')
})

test('a private key is for ssh, and hosts may stand behind it', () => {
  expect(gitCredentials('git@h:p', KEY).env).toEqual({ SLIPWAY_SSH_KEY: `${KEY}\n`, SLIPWAY_SSH_HOSTS: '' })
  const both = gitCredentials('ssh://git@h/p', `${KEY}\nh ssh-ed25519 AAAA\n`)
  expect(both.env).toEqual({ SLIPWAY_SSH_KEY: `${KEY}\n`, SLIPWAY_SSH_HOSTS: 'h ssh-ed25519 AAAA\n' })
  expect(both.hidden).toContain('b3BlbnNzaC1rZXktdjEAAAAA')
})

test.each([
  ['https://h/p', KEY],
  ['https://h/p', 'two\nlines'],
  ['ssh://git@h/p', 'a-token'],
  ['git://h/p', 'a-token'],
])('%s does not take this kind of secret', (url, secret) => {
  expect(() => gitCredentials(url, secret)).toThrow(expect.objectContaining({ code: 'source.refused' }))
})

test('what is hidden is not shown', () => {
  expect(masked('fatal: s3cret for https://x:s3cret@h', ['s3cret', ''])).toBe('fatal: *** for https://x:***@h')
})
