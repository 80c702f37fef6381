import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fetchTar } from './fetch-tar.ts'

const NAMES: Record<string, string> = {
  'named.test': '127.0.0.1',
  'other.test': '127.0.0.1',
  'keys.test': '169.254.169.254',
}
const resolve = async (name: string) => [{ address: NAMES[name] ?? '192.0.2.1', family: 4 }]
let folder: string
let server: Server
let origin: (name: string) => string
let asked: string[]

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-tar-'))
  mkdirSync(join(folder, 'into'))
  execFileSync('sh', ['-c', 'echo text >file; tar -cf tar file'], { cwd: folder })
  asked = []
  server = createServer(({ headers, url = '' }, response) => {
    asked.push(`${headers.host}${url}`)
    const to = new URL(url, 'http://x').searchParams.get('to')
    if (to !== null) response.writeHead(302, { location: to }).end()
    else response.end(readFileSync(join(folder, 'tar')))
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  origin = name => `http://${name}:${port}`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise(closed => server.close(closed))
  rmSync(folder, { recursive: true, force: true })
})

const taken = (url: string) => {
  const place = { file: join(folder, 'download'), into: join(folder, 'into') }
  const limits = { maxBytes: 1024 ** 2, maxEntries: 10 }
  return fetchTar(url, undefined, { ...place, limits, signal: new AbortController().signal, resolve })
}

test('a server is asked at the address that was looked at, and a redirect of one inside leads inside', async () => {
  const digest = await taken(`${origin('named.test')}/?to=${origin('other.test')}/tar`)
  expect(digest).toMatch(/^[0-9a-f]{64}$/)
  expect(readFileSync(join(folder, 'into/file'), 'utf8')).toBe('text\n')
  expect(asked.map(line => line.replace(/:\d+/, ''))).toEqual([expect.stringMatching(/^named.test/), 'other.test/tar'])
  expect(existsSync(join(folder, 'download'))).toBe(false)
})

test('none leads to where clouds keep keys, whatever its name', async () => {
  const refused = expect.objectContaining({ code: 'source.refused' })
  await expect(taken(`${origin('named.test')}/?to=http://keys.test/latest`)).rejects.toEqual(refused)
  await expect(taken('http://keys.test/latest')).rejects.toEqual(refused)
  expect(asked).toHaveLength(1)
})
