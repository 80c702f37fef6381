import { expect, test } from 'vitest'
import { pinned } from './pinned-server.ts'
import { addressesWithin } from './reach.ts'

const names: Record<string, string[]> = {
  'public.example': ['192.0.2.1'],
  'inner.example': ['10.1.2.3'],
  'both.example': ['127.0.0.1', '192.0.2.2'],
  'metadata.example': ['169.254.169.254'],
  'six.example': ['::1', 'fd00::1', 'fe80::1', '::ffff:10.0.0.1'],
}
const resolve = async (name: string) =>
  (names[name] ?? []).map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
const refused = expect.objectContaining({ code: 'source.refused' })
const within = async (host: string, reach: 'public' | 'private') =>
  (await addressesWithin(host, reach, resolve)).map(({ address }) => address)

test('what a name leads to decides, and not its letters', async () => {
  expect(await within('public.example', 'public')).toEqual(['192.0.2.1'])
  expect(await within('both.example', 'public')).toEqual(['192.0.2.2'])
  expect(await within('inner.example', 'private')).toEqual(['10.1.2.3'])
  for (const host of ['inner.example', 'six.example', '127.0.0.1', '[::1]', '[::ffff:10.0.0.1]'])
    await expect(within(host, 'public'), host).rejects.toEqual(refused)
})

test('no reach leads to the keys of clouds', async () => {
  for (const host of ['metadata.example', '169.254.169.254', '[fe80::a]', '[::ffff:169.254.169.254]', '168.63.129.16'])
    await expect(within(host, 'private'), host).rejects.toEqual(refused)
})

test('a name without an address says so', async () => {
  const none = addressesWithin('none.example', 'public', async () => Promise.reject(new Error('ENOTFOUND')))
  await expect(none).rejects.toMatchObject({ code: 'source.fetch-failed' })
})

test('git goes to addresses that were looked at', async () => {
  const pin = async (url: string) => (await pinned(url, 'public', resolve)).config
  expect(await pin('https://public.example/x')).toEqual([['http.curloptResolve', 'public.example:443:192.0.2.1']])
  expect(await pin('http://both.example:81/x')).toEqual([['http.curloptResolve', 'both.example:81:192.0.2.2']])
  expect((await pinned('git://public.example/x', 'public', resolve)).url).toBe('git://192.0.2.1/x')
  const { config } = await pinned('https://inner.example/x', 'private', resolve)
  expect(config).toEqual([['http.curloptResolve', 'inner.example:443:10.1.2.3']])
  await expect(pin('https://inner.example/x')).rejects.toEqual(refused)
  await expect(pinned('git@metadata.example:x', 'private', resolve)).rejects.toEqual(refused)
})
