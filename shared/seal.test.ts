import { expect, test } from 'vitest'
import { makeSealKeys, seal, unseal } from './seal.ts'

test('what is sealed for one key opens with that one alone, and unchanged', async () => {
  const [keys, others] = await Promise.all([makeSealKeys(), makeSealKeys()])
  const sealed = await seal('geheim ü', keys.publicKey)
  expect(atob(sealed)).not.toContain('geheim')
  expect(await unseal(sealed, keys.privateKey)).toBe('geheim ü')
  await expect(unseal(sealed, others.privateKey)).rejects.toThrow()
  const changed = `${sealed.slice(0, -8)}${sealed.at(-8) === 'A' ? 'B' : 'A'}${sealed.slice(-7)}`
  await expect(unseal(changed, keys.privateKey)).rejects.toThrow()
  expect(await seal('geheim ü', keys.publicKey)).not.toBe(sealed)
})
