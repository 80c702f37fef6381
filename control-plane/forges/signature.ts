import type { HookKind } from '#shared/domain/hook.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HeaderReader } from './event.ts'

/** A delivery as it came. */
export interface Delivery {
  headers: HeaderReader
  body: Uint8Array<ArrayBuffer>
}

const CLOCKS_APART_MS = 5 * 60_000
/** GitLab's signing tokens, as Standard Webhooks writes them: base64 behind it. */
const SIGNING_TOKEN = 'whsec_'
const utf8 = (text: string) => new TextEncoder().encode(text)

/**
 * Whether a delivery is from who knows the secret, compared in constant time, before anything of it is read. GitHub:
 * `X-Hub-Signature-256`. Gitea, Forgejo: `X-Gitea-Signature`, `X-Forgejo-Signature`. GitLab: `X-Gitlab-Token`, or with a signing
 * token `webhook-signature` (Standard Webhooks). Ours: `X-Slipway-Signature` of `DELIVERY.TIMESTAMP.BODY`.
 * Errors: `hook.signature-invalid`.
 */
export async function requireSignature(kind: HookKind, secret: string, delivery: Delivery, now: number): Promise<void> {
  const isTrue = await CHECKS[kind](secret, delivery, now)
  if (!isTrue) {
    const advice = 'send it with the secret that the hook has, and ours within five minutes of its timestamp'
    throw new SlipwayError('hook.signature-invalid', `The delivery is not signed as this hook's must be: ${advice}.`)
  }
}

type Check = (secret: string, delivery: Delivery, now: number) => Promise<boolean>

const github: Check = (secret, { headers, body }) =>
  isHmac(utf8(secret), body, hex(headers('x-hub-signature-256'), 'sha256='))

const gitea: Check = (secret, { headers, body }) => {
  const given = headers('x-forgejo-signature') ?? headers('x-gitea-signature')
  return isHmac(utf8(secret), body, hex(given, ''))
}

const gitlab: Check = async (secret, { headers, body }, now) => {
  if (!secret.startsWith(SIGNING_TOKEN)) return isSame(headers('x-gitlab-token') ?? '', secret)
  const [id = '', at = ''] = [headers('webhook-id'), headers('webhook-timestamp')]
  if (!isNear(at, now)) return false
  const key = base64(secret.slice(SIGNING_TOKEN.length)) ?? new Uint8Array()
  const given = (headers('webhook-signature') ?? '').split(' ').slice(0, 10)
  const found = await Promise.all(
    given.map(one =>
      isHmac(key, joined(`${id}.${at}.`, body), one.startsWith('v1,') ? base64(one.slice(3)) : undefined),
    ),
  )
  return found.includes(true)
}

const signed: Check = async (secret, { headers, body }, now) => {
  const [id = '', at = ''] = [headers('x-slipway-delivery'), headers('x-slipway-timestamp')]
  if (!isNear(at, now)) return false
  return isHmac(utf8(secret), joined(`${id}.${at}.`, body), hex(headers('x-slipway-signature'), 'sha256='))
}

const CHECKS: Record<HookKind, Check> = { github, gitea, gitlab, signed }

/** Seconds since 1970. */
function isNear(timestamp: string, now: number): boolean {
  return /^\d{1,12}$/.test(timestamp) && Math.abs(Number(timestamp) * 1000 - now) <= CLOCKS_APART_MS
}

/** HMAC-SHA256, compared by the platform, which does it in constant time. */
async function isHmac(
  key: Uint8Array<ArrayBuffer>,
  message: Uint8Array<ArrayBuffer>,
  given: Uint8Array<ArrayBuffer> | undefined,
): Promise<boolean> {
  if (given === undefined || key.length === 0) return false
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
  return crypto.subtle.verify('HMAC', imported, given, message)
}

/** Texts of any length, without a hint at where they differ: what is compared are MACs under a key of the moment. */
async function isSame(one: string, other: string): Promise<boolean> {
  const key = await crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256', length: 256 }, false, ['sign', 'verify'])
  return crypto.subtle.verify('HMAC', key, await crypto.subtle.sign('HMAC', key, utf8(one)), utf8(other))
}

function hex(text: string | undefined, prefix: string): Uint8Array<ArrayBuffer> | undefined {
  const digits = text?.startsWith(prefix) ? text.slice(prefix.length) : ''
  if (!/^[0-9a-f]{64}$/i.test(digits)) return undefined
  return Uint8Array.from(digits.match(/../g) ?? [], pair => Number.parseInt(pair, 16))
}

function base64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
  } catch {
    return undefined
  }
}

function joined(head: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const first = utf8(head)
  const whole = new Uint8Array(first.length + body.length)
  whole.set(first)
  whole.set(body, first.length)
  return whole
}

const DELIVERY_HEADERS: Record<HookKind, string[]> = {
  github: ['x-github-delivery'],
  gitea: ['x-forgejo-delivery', 'x-gitea-delivery'],
  // The first stays the same when GitLab tries again; older versions have the second alone.
  gitlab: ['idempotency-key', 'webhook-id', 'x-gitlab-event-uuid'],
  signed: ['x-slipway-delivery'],
}

/** What tells deliveries apart; the same when one is sent again. Errors: `hook.payload-invalid`. */
export function deliveryId(kind: HookKind, headers: HeaderReader): string {
  const found = DELIVERY_HEADERS[kind].map(headers).find(id => id !== undefined && id !== '')
  if (found !== undefined && found.length <= 200) return found
  throw new SlipwayError('hook.payload-invalid', `The delivery has no id: ${DELIVERY_HEADERS[kind][0]} is missing.`)
}
