import { expect, test } from 'vitest'
import { openSecretBox, readSecretsKey } from './secret-box.ts'

const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes)
const key = () => random(new Uint8Array(32))

test('what was sealed opens with the same key and name, and looks different each time', async () => {
  const box = openSecretBox(key(), random)
  const [once, again] = [await box.seal('token', 'geheim ✓'), await box.seal('token', 'geheim ✓')]
  expect(once).not.toBe(again)
  expect(once).not.toContain('geheim')
  expect(await box.open('token', once)).toBe('geheim ✓')
})

test('it opens for no other name, with no other key, and not once it was changed', async () => {
  const [mine, other] = [openSecretBox(key(), random), openSecretBox(key(), random)]
  const sealed = await mine.seal('token', 'text')
  const wrong = { code: 'secret.key-wrong' }
  await expect(mine.open('other', sealed)).rejects.toMatchObject(wrong)
  await expect(other.open('token', sealed)).rejects.toMatchObject(wrong)
  await expect(mine.open('token', sealed.slice(0, -3))).rejects.toMatchObject(wrong)
  await expect(mine.open('token', 'nonsense')).rejects.toMatchObject(wrong)
})

test('the longest text that is taken, in any letters', async () => {
  const box = openSecretBox(key(), random)
  const text = '✓'.repeat(64 * 1024)
  expect(await box.open('long', await box.seal('long', text))).toBe(text)
})

test('without a key nothing is kept', async () => {
  await expect(openSecretBox(undefined, random).seal('token', 'x')).rejects.toMatchObject({
    code: 'secret.key-missing',
  })
})

test('a key is 32 bytes of base64', () => {
  expect(readSecretsKey(btoa('x'.repeat(32)))).toEqual(new Uint8Array(32).fill(120))
  expect(readSecretsKey(btoa('short'))).toBeUndefined()
  expect(readSecretsKey('!')).toBeUndefined()
})
