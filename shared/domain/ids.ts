import { z } from 'zod'

declare const brand: unique symbol
export type Branded<T, B extends string> = T & { readonly [brand]: B }

export type HostId = Branded<string, 'HostId'>
export type ContainerId = Branded<string, 'ContainerId'>
export type BuildId = Branded<string, 'BuildId'>
export type ContextId = Branded<string, 'ContextId'>
export type TokenId = Branded<string, 'TokenId'>
export type UploadId = Branded<string, 'UploadId'>
export type HookId = Branded<string, 'HookId'>
export type ExecId = Branded<string, 'ExecId'>
export type AnyId = HostId | ContainerId | BuildId | ContextId | TokenId | UploadId | HookId | ExecId

/** Fills an array with random bytes: `crypto.getRandomValues` in production, seeded in simulations. */
export type Random = (bytes: Uint8Array<ArrayBuffer>) => Uint8Array

export const ID_LENGTH = 16
export const ID_PATTERN = /^[a-z2-7]{16}$/
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** 80 random bits as 16 base32 characters: safe in file, cgroup, netns and NATS subject names. */
export function newId<T extends AnyId>(random: Random): T {
  const bytes = random(new Uint8Array(ID_LENGTH))
  return Array.from(bytes, byte => ALPHABET[byte & 31]).join('') as T
}

export function isId(text: string): boolean {
  return ID_PATTERN.test(text)
}

export function idSchema<T extends AnyId>() {
  return z
    .string()
    .regex(ID_PATTERN, 'an id is 16 characters of a-z and 2-7')
    .transform(text => text as T)
}
