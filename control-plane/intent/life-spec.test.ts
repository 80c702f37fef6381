import { describe, expect, test } from 'vitest'
import { healthCheckOptionSchema } from '#shared/protocol/container-life.ts'
import { lifeOptionsOf, lifeSpec } from './life-spec.ts'

describe('a health check', () => {
  test.each([
    ['none'],
    [{ test: ['CMD', 'curl', '-f', 'http://localhost'], interval: '1500ms', retries: 3 }],
    [{ test: ['CMD-SHELL', 'true || exit 1'], timeout: '5s', startPeriod: '1h' }],
    [{ http: { port: 80, path: '/health?full', headers: { Host: 'a' } }, startInterval: '0s' }],
    [{ tcp: { port: 5432 } }],
    [{ interval: '2m' }],
  ] as const)('%j reads back as it was asked for', asked => {
    const { healthCheck } = lifeSpec({ healthCheck: healthCheckOptionSchema.parse(asked) })
    expect(lifeOptionsOf({ healthCheck }).healthCheck).toEqual(asked)
  })

  test('has one form of test, and a form that is one', () => {
    const isForm = (asked: unknown) => healthCheckOptionSchema.safeParse(asked).success
    expect(isForm({ tcp: { port: 1 }, http: { port: 1 } })).toBe(false)
    expect(isForm({ http: { port: 1, path: '/a b' } })).toBe(false)
    expect(isForm({ http: { port: 1, headers: { A: 'b\r\nC: d' } } })).toBe(false)
    expect(isForm({ test: ['CMD', 'a\0'] })).toBe(false)
    for (const words of [['curl'], ['CMD'], ['CMD-SHELL'], ['CMD-SHELL', 'a', 'b']]) {
      const wrong = expect.objectContaining({ code: 'request.invalid' })
      expect(() => lifeSpec({ healthCheck: { test: words } })).toThrow(wrong)
    }
    expect(lifeSpec({ healthCheck: { test: ['NONE'] } }).healthCheck).toEqual({ kind: 'none' })
  })
})
