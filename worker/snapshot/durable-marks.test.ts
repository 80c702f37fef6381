import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eachInFolder } from '#test/support/own-folder.ts'
import { DurableMarks } from './durable-marks.ts'

let folder: string
eachInFolder('marks', [], own => {
  folder = own
})

test('an entry that goes while its mark is made leaves no mark: the next of its name may not be on the disk', async () => {
  const measuring = Promise.withResolvers<void>()
  const measured = Promise.withResolvers<number>()
  const marks = new DurableMarks(folder, () => {
    measuring.resolve()
    return measured.promise
  })
  for (const name of ['goes', 'stays']) mkdirSync(join(folder, name))
  for (const name of ['goes', 'stays']) marks.markSoon(name)
  await measuring.promise
  const forgotten = marks.forget('goes')
  measured.resolve(1)
  await forgotten
  rmSync(join(folder, 'goes'), { recursive: true })
  await marks.settled()
  expect(readdirSync(folder).toSorted()).toEqual(['stays', 'stays.whole'])
})

test('one that goes while others are synced is not marked, nor is the next of its name by that sync', async () => {
  const marks = new DurableMarks(folder, async () => 1)
  for (const name of ['goes', 'stays']) mkdirSync(join(folder, name))
  for (const name of ['goes', 'stays']) marks.markSoon(name)
  await marks.forget('goes')
  await marks.settled()
  expect(readdirSync(folder).toSorted()).toEqual(['goes', 'stays', 'stays.whole'])
  marks.markSoon('goes')
  await marks.settled()
  expect(readdirSync(folder)).toContain('goes.whole')
})
