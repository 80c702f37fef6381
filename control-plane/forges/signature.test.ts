import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import type { HookKind } from '#shared/domain/hook.ts'
import { deliveryId, requireSignature } from './signature.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

function accepts(kind: HookKind, secret: string, headers: Record<string, string>, body: string, now = 0) {
  return requireSignature(kind, secret, { headers: name => headers[name], body: bytes(body) }, now).then(
    () => true,
    (error: { code: string }) => (error.code === 'hook.signature-invalid' ? false : Promise.reject(error)),
  )
}

test("GitHub's documented example holds, and nothing near it", async () => {
  const [secret, body] = ["It's a Secret to Everybody", 'Hello, World!']
  const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
  const given = { 'x-hub-signature-256': signature }
  expect(await accepts('github', secret, given, body)).toBe(true)
  expect(await accepts('github', secret, given, 'Hello, World')).toBe(false)
  expect(await accepts('github', `${secret}!`, given, body)).toBe(false)
  for (const wrong of [signature.slice(7), `${signature}00`, signature.replace('7', '8'), 'sha256=', '']) {
    expect(await accepts('github', secret, { 'x-hub-signature-256': wrong }, body), wrong).toBe(false)
  }
  expect(await accepts('github', secret, { 'x-hub-signature': signature }, body)).toBe(false)
})

test('Gitea and Forgejo sign the same without a prefix', async () => {
  const signature = createHmac('sha256', 's'.repeat(16)).update('{"a":1}').digest('hex')
  for (const header of ['x-gitea-signature', 'x-forgejo-signature']) {
    expect(await accepts('gitea', 's'.repeat(16), { [header]: signature }, '{"a":1}')).toBe(true)
    expect(await accepts('gitea', 's'.repeat(16), { [header]: signature }, '{"a":2}')).toBe(false)
  }
})

test('GitLab sends its secret, or signs with a signing token as Standard Webhooks documents it', async () => {
  expect(await accepts('gitlab', 'token-of-the-hook', { 'x-gitlab-token': 'token-of-the-hook' }, 'x')).toBe(true)
  expect(await accepts('gitlab', 'token-of-the-hook', { 'x-gitlab-token': 'token-of-the-hooks' }, 'x')).toBe(false)
  expect(await accepts('gitlab', 'token-of-the-hook', {}, 'x')).toBe(false)
  const [secret, body] = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', '{"test": 2432232314}']
  const headers = {
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  }
  const then = 1614265330_000
  expect(await accepts('gitlab', secret, headers, body, then)).toBe(true)
  expect(await accepts('gitlab', secret, headers, body, then + 301_000)).toBe(false)
  expect(await accepts('gitlab', secret, { ...headers, 'webhook-id': 'other' }, body, then)).toBe(false)
  expect(await accepts('gitlab', secret, { 'x-gitlab-token': secret }, body, then)).toBe(false)
})

test('ours signs delivery, time and body, and is good for five minutes', async () => {
  const [secret, body, at] = ['s'.repeat(16), '{}', 1_800_000_000]
  const signature = `sha256=${createHmac('sha256', secret).update(`d1.${at}.${body}`).digest('hex')}`
  const headers = { 'x-slipway-delivery': 'd1', 'x-slipway-timestamp': String(at), 'x-slipway-signature': signature }
  expect(await accepts('signed', secret, headers, body, at * 1000 + 299_000)).toBe(true)
  expect(await accepts('signed', secret, headers, body, at * 1000 - 299_000)).toBe(true)
  expect(await accepts('signed', secret, headers, body, at * 1000 + 301_000)).toBe(false)
  expect(await accepts('signed', secret, { ...headers, 'x-slipway-delivery': 'd2' }, body, at * 1000)).toBe(false)
  expect(await accepts('signed', secret, { ...headers, 'x-slipway-timestamp': '1e9' }, body, at * 1000)).toBe(false)
})

test('a delivery has an id', () => {
  expect(deliveryId('gitlab', name => (name === 'x-gitlab-event-uuid' ? 'u' : undefined))).toBe('u')
  expect(() => deliveryId('github', () => undefined)).toThrow(expect.objectContaining({ code: 'hook.payload-invalid' }))
  expect(() => deliveryId('github', () => 'x'.repeat(201))).toThrow()
})
