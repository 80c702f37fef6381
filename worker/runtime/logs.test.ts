import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemClock } from '#shared/ports/clock.ts'
import type { LogLine } from '#shared/protocol/bus.ts'
import { lineParser, readLog } from './logs.ts'

const both = { stdout: true, stderr: true }
const record = (stream: string, kind: string, bytes: Uint8Array) =>
  Buffer.concat([Buffer.from(`2026-01-01T00:00:00.000000000+00:00 ${stream} ${kind} `), bytes, Buffer.from('\n')])

test('a character that the monitor cut in two is whole again, also with the other stream between its parts', () => {
  const euro = Buffer.from('€')
  const parse = lineParser(both)
  const first = parse(record('stdout', 'P', Buffer.concat([Buffer.from('a'), euro.subarray(0, 1)])))
  const rest = parse(Buffer.concat([record('stderr', 'F', Buffer.from('ü')), record('stdout', 'F', euro.subarray(1))]))
  const textOf = (stream: string) => [...first, ...rest].filter(line => line.stream === stream).map(({ text }) => text)
  expect(textOf('stdout').join('')).toBe('a€')
  expect(textOf('stderr')).toEqual(['ü'])
})

test('what is no text ends with its line', () => {
  const parse = lineParser(both)
  const texts = [
    ...parse(record('stdout', 'F', Buffer.from([0xe2]))),
    ...parse(record('stdout', 'F', Buffer.from('b'))),
  ]
  expect(texts.map(({ text }) => text)).toEqual(['\uFFFD', 'b'])
})

test('a log that is not there reads as empty; tail and streams choose lines', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-logs-'))
  try {
    const path = join(folder, 'log')
    const read = async (query: object) => {
      const lines: LogLine[] = []
      const source = { path, clock: systemClock, signal: new AbortController().signal, isLive: async () => false }
      for await (const some of readLog(source, { follow: false, ...both, ...query })) lines.push(...some)
      return lines.map(({ text }) => text)
    }
    expect(await read({})).toEqual([])
    const lines = ['one', 'two', 'three'].map((text, at) =>
      record(at === 1 ? 'stderr' : 'stdout', 'F', Buffer.from(text)),
    )
    await writeFile(path, Buffer.concat(lines))
    expect(await read({})).toEqual(['one', 'two', 'three'])
    expect(await read({ tail: 2 })).toEqual(['two', 'three'])
    expect(await read({ stderr: false })).toEqual(['one', 'three'])
    expect(await read({ follow: true })).toEqual(['one', 'two', 'three'])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
