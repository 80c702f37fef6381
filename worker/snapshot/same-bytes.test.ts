import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sameBytes } from './same-bytes.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-same-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const PART = 256 * 1024
const at = (name: string) => Buffer.from(join(folder, name))
const openFiles = () => readdirSync('/proc/self/fd').length

test.each([0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 5])('%i bytes: each that differs tells', async size => {
  const bytes = Buffer.alloc(size, 'abc')
  writeFileSync(at('one'), bytes)
  writeFileSync(at('two'), bytes)
  const before = openFiles()
  expect(await sameBytes(at('one'), at('two'))).toBe(true)
  for (const place of [0, PART - 1, PART, size - 1].filter(place => place >= 0 && place < size)) {
    const other = Buffer.from(bytes)
    other[place] = 0
    writeFileSync(at('two'), other)
    expect(await sameBytes(at('one'), at('two'))).toBe(false)
  }
  for (const other of [bytes.subarray(1), Buffer.concat([bytes, Buffer.alloc(1)])].filter(
    ({ length }) => length !== size,
  )) {
    writeFileSync(at('two'), other)
    expect(await sameBytes(at('one'), at('two'))).toBe(false)
  }
  expect(openFiles()).toBe(before)
})

test('what is no file is not the same, and is not waited for', async () => {
  writeFileSync(at('file'), '')
  mkdirSync(at('folder'))
  symlinkSync('file', at('link'))
  execFileSync('mkfifo', [String(at('pipe'))])
  for (const name of ['folder', 'pipe']) expect(await sameBytes(at('file'), at(name))).toBe(false)
  for (const name of ['link', 'nothing']) expect(() => sameBytes(at('file'), at(name))).toThrow()
})

test('large files leave the event loop to others', async () => {
  const bytes = Buffer.alloc(64 * 1024 * 1024, 'x')
  for (const name of ['large', 'twin']) writeFileSync(at(name), bytes)
  let turns = 0
  const turn = () => {
    turns++
    timer = setImmediate(turn)
  }
  let timer = setImmediate(turn)
  expect(await sameBytes(at('large'), at('twin'))).toBe(true)
  clearImmediate(timer)
  expect(turns).toBeGreaterThan(100)
})
