import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { apiUrl, pathsOf } from '#infra/local/layout.ts'
import { bootWithBusybox, freePort, type TestSlipway } from '#test/support/slipway.ts'

const execute = promisify(execFile)
let slipway: TestSlipway
let folder: string

beforeAll(async () => {
  slipway = await bootWithBusybox('e2eread')
  folder = mkdtempSync(join(tmpdir(), 'slipway-readme-'))
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  expect(await slipway?.remove()).toEqual([])
})

/** The shell blocks of the README's walk, but for the one that never ends. */
function walk(): string {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')
  const section = readme.split('## A walk through the API')[1]?.split('\n## ')[0] ?? ''
  const blocks = [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, block = '']) => block)
  expect(blocks.length).toBeGreaterThan(3)
  return blocks.filter(block => !block.includes('/v1/events')).join('\n')
}

test("the README's walk through the API works as it is written", async () => {
  const port = await freePort('0.0.0.0')
  const script = walk()
    .replaceAll('/tmp/', `${folder}/`)
    .replaceAll('/var/lib/slipway/secrets/operator.token', pathsOf(slipway.layout).operatorToken)
    .replaceAll('http://127.0.0.1:7117', apiUrl(slipway.layout))
    .replaceAll('8000:8000', `${port}:8000`)
    .replaceAll('127.0.0.1:8000', `127.0.0.1:${port}`)
  const { stdout } = await execute('bash', ['-euo', 'pipefail', '-c', script], { timeout: 90_000 })
  expect(stdout).toContain('"state":"succeeded"')
  expect(stdout).toContain('<h1>It works</h1>')
  expect(stdout).not.toContain('urn:slipway:error')
})
