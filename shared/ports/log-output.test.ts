import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

/** A process that logs, on what `path` names; returns how it ended and what it said elsewhere. */
async function logsTo(path: string): Promise<{ code: unknown; said: string }> {
  const program = `
    import { writeSync } from 'node:fs'
    import { pino } from 'pino'
    import { logOutput } from '${join(import.meta.dirname, 'log-output.ts')}'
    const log = pino({}, logOutput(line => writeSync(2, line)))
    log.info('one')
    setTimeout(() => { log.info('two'); console.log('alive') }, 50)`
  const fd = openSync(path, 'a')
  const options = { stdio: ['ignore', 'pipe', fd] as ['ignore', 'pipe', number], timeout: 20_000 }
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    ...options,
    cwd: import.meta.dirname,
  })
  closeSync(fd)
  let said = ''
  child.stdout?.on('data', data => {
    said += data
  })
  const [code] = await once(child, 'close')
  return { code, said }
}

test('a full disk ends no process', async () => {
  expect(await logsTo('/dev/full')).toEqual({ code: 0, said: 'alive\n' })
})

test('lines are written in their order', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-log-'))
  try {
    expect(await logsTo(join(folder, 'log'))).toEqual({ code: 0, said: 'alive\n' })
    const lines = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n')
    expect(lines.map(line => JSON.parse(line).msg)).toEqual(['one', 'two'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
