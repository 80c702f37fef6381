import { decodeBase64, encodeBase64 } from '#shared/base64.ts'
import type { Random } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'

/** Seals texts for the store, which never holds a secret in clear (DESIGN §5.13). */
export interface SecretBox {
  /** `name` is bound to the text: what was sealed for one name opens for no other. Errors: `secret.key-missing`. */
  seal(name: string, text: string): Promise<string>
  /** Errors: `secret.key-missing`, `secret.key-wrong`. */
  open(name: string, sealed: string): Promise<string>
}

export const SECRETS_KEY_BYTES = 32
const IV_BYTES = 12
const VERSION = 'v1'

/** AES-256-GCM with a fresh random IV each time (NIST SP 800-38D); without a key it refuses and says how to give one. */
export function openSecretBox(key: Uint8Array<ArrayBuffer> | undefined, random: Random): SecretBox {
  const imported = key && crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt'])
  imported?.catch(() => {}) // Told to who seals or opens.
  const keyOf = () => {
    if (imported) return imported
    const how = 'on Workers, wrangler secret put SECRETS_KEY with 32 random bytes as base64'
    throw new SlipwayError('secret.key-missing', `The control plane has no key to keep secrets with: ${how}.`)
  }
  const terms = (name: string, iv: Uint8Array<ArrayBuffer>) => {
    return { name: 'AES-GCM', iv, additionalData: new TextEncoder().encode(name) }
  }
  return {
    seal: async (name, text) => {
      const iv = new Uint8Array(random(new Uint8Array(IV_BYTES)))
      const sealed = await crypto.subtle.encrypt(terms(name, iv), await keyOf(), new TextEncoder().encode(text))
      return [VERSION, encodeBase64(iv), encodeBase64(sealed)].join('.')
    },
    open: async (name, sealed) => {
      const key = await keyOf()
      const [, iv = '', bytes = ''] = sealed.split('.')
      try {
        const text = await crypto.subtle.decrypt(terms(name, decodeBase64(iv)), key, decodeBase64(bytes))
        return new TextDecoder().decode(text)
      } catch (cause) {
        const message = 'A secret was sealed with another key than the control plane has now: set it anew.'
        throw new SlipwayError('secret.key-wrong', message, { cause })
      }
    },
  }
}

/** A key as configuration has it. Undefined when it is not 32 bytes of base64. */
export function readSecretsKey(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    const bytes = decodeBase64(text)
    return bytes.length === SECRETS_KEY_BYTES ? bytes : undefined
  } catch {
    return undefined
  }
}
