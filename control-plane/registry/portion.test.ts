import { expect, test } from 'vitest'
import { portion } from './portion.ts'
import { openShare } from './share.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)
const bodyOf = (...chunks: string[]) => new Blob(chunks).stream() as ReadableStream<Uint8Array>
const read = (body: ReadableStream<Uint8Array>) => new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).text()

test('leaves out what is here already', async () => {
  expect(await read(portion(bodyOf('abc', 'def'), { skip: 4, take: 2 }, () => false))).toBe('ef')
})

test('refuses more than there is, and a body that begins too late', async () => {
  const wrong = { code: 'upstream.digest-mismatch' }
  await expect(read(portion(bodyOf('abc'), { skip: 0, take: 2 }, () => false))).rejects.toMatchObject(wrong)
  expect(() => portion(bodyOf('abc'), { skip: -1, take: 9 }, () => false)).toThrow(/range/)
})

test('ends early without an error, and reads no further', async () => {
  let pulled = 0
  const endless = new ReadableStream<Uint8Array>({
    pull: controller => {
      pulled++
      controller.enqueue(bytesOf('x'))
    },
  })
  expect(await read(portion(endless, { skip: 0, take: 1000 }, () => pulled >= 3))).toMatch(/^x{1,5}$/)
})

test('work of one key runs once at a time, and its failure is everybody’s', async () => {
  const share = openShare()
  let runs = 0
  const fail = () =>
    share('key', async () => {
      runs++
      await Promise.resolve()
      throw new Error('no')
    })
  const ends = await Promise.allSettled([fail(), fail(), fail()])
  expect([runs, ends.every(({ status }) => status === 'rejected')]).toEqual([1, true])
  await expect(fail()).rejects.toThrow('no')
  expect(runs).toBe(2)
})
