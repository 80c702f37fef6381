import { expect, test } from 'vitest'
import { takesTokenAlong } from './registry-blobs.ts'

test.each([
  ['another host', 'https://slipway.example/v2/', 'https://account.r2.cloudflarestorage.com/b/k', false],
  ['the same host at another port', 'https://slipway.example/v2/', 'https://slipway.example:9000/b/k', true],
  ['a host below it', 'https://example.com/v2/', 'https://s3.example.com/b/k', true],
  ['a host beside it', 'https://registry.example.com/v2/', 'https://s3.example.com/b/k', false],
  ['a name that only ends alike', 'https://example.com/v2/', 'https://notexample.com/b/k', false],
])('a redirect to %s', (_, asked, location, isSo) => {
  expect(takesTokenAlong(asked, location)).toBe(isSo)
})
