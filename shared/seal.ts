import { decodeBase64, encodeBase64 } from './base64.ts'

/**
 * Texts for one reader: sealed with a host's public key, so that whoever keeps or carries them cannot read them. ECDH on
 * P-256 with a key of the moment, HKDF-SHA256, AES-256-GCM: what WebCrypto has everywhere (W3C Web Cryptography API).
 */
const CURVE = { name: 'ECDH', namedCurve: 'P-256' } as const
const RAW_BYTES = 65
const IV_BYTES = 12

/** Both halves of a host's key, in base64. */
export interface SealKeys {
  publicKey: string
  privateKey: string
}

export async function makeSealKeys(): Promise<SealKeys> {
  const pair = await crypto.subtle.generateKey(CURVE, true, ['deriveBits'])
  return {
    publicKey: encodeBase64(await crypto.subtle.exportKey('raw', pair.publicKey)),
    privateKey: encodeBase64(await crypto.subtle.exportKey('pkcs8', pair.privateKey)),
  }
}

/** Base64. Two seals of one text are never the same. */
export async function seal(text: string, publicKey: string): Promise<string> {
  const own = await crypto.subtle.generateKey(CURVE, true, ['deriveBits'])
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', own.publicKey))
  const theirs = await crypto.subtle.importKey('raw', decodeBase64(publicKey), CURVE, false, [])
  const key = await sharedKey(own.privateKey, theirs, raw)
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, new TextEncoder().encode(text))
  const whole = new Uint8Array(RAW_BYTES + IV_BYTES + sealed.byteLength)
  whole.set(raw)
  whole.set(iv, RAW_BYTES)
  whole.set(new Uint8Array(sealed), RAW_BYTES + IV_BYTES)
  return encodeBase64(whole)
}

/** Rejects for what another key sealed, and for what was changed. */
export async function unseal(sealed: string, privateKey: string): Promise<string> {
  const whole = decodeBase64(sealed)
  const raw = whole.slice(0, RAW_BYTES)
  const own = await crypto.subtle.importKey('pkcs8', decodeBase64(privateKey), CURVE, false, ['deriveBits'])
  const theirs = await crypto.subtle.importKey('raw', raw, CURVE, false, [])
  const key = await sharedKey(own, theirs, raw)
  const iv = whole.slice(RAW_BYTES, RAW_BYTES + IV_BYTES)
  const text = await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, whole.slice(RAW_BYTES + IV_BYTES))
  return new TextDecoder().decode(text)
}

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>

async function sharedKey(own: Key, theirs: Key, salt: Uint8Array<ArrayBuffer>): Promise<Key> {
  const bits = await crypto.subtle.deriveBits({ name: 'ECDH', public: theirs }, own, 256)
  const material = await crypto.subtle.importKey('raw', bits, 'HKDF', false, ['deriveKey'])
  const derivation = { name: 'HKDF', hash: 'SHA-256', salt, info: new TextEncoder().encode('slipway build secrets') }
  return crypto.subtle.deriveKey(derivation, material, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
}
