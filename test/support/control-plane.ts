import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { COMPILE_CACHE, CONTROL_PLANE_LEAN } from '#infra/local/boot.ts'
import { supervise, waitUntil } from '#infra/local/processes.ts'
import { freePort } from './slipway.ts'

export interface TestControlPlane extends AsyncDisposable {
  url: string
  token: string
  folder: string
  pid(): number | undefined
}

const project = join(import.meta.dirname, '../..')

/** The control plane alone, on Node: a SQLite file, a blob folder, no bus and no agent. Needs no root. */
export async function bootControlPlane(
  env: Record<string, string> = {},
  /** Puts what it needs into its folder, and returns the variables that say so. */
  prepare: (folder: string) => Record<string, string> = () => ({}),
): Promise<TestControlPlane> {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync('/var/tmp/slipway-control-plane-')
  undo.defer(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const token = env.SLIPWAY_TOKEN_FILE ?? join(folder, 'operator.token')
  const options = {
    name: 'the control plane',
    command: process.execPath,
    args: [...CONTROL_PLANE_LEAN.args, join(project, 'control-plane/main.node.ts')],
    env: {
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      ...CONTROL_PLANE_LEAN.env,
      SLIPWAY_DATA: folder,
      SLIPWAY_LISTEN: `127.0.0.1:${port}`,
      SLIPWAY_TOKEN_FILE: token,
      ...env,
      ...prepare(folder),
    },
    logPath: join(folder, 'log'),
  }
  const running = undo.use(supervise(options, () => {}))
  const isUp = () =>
    fetch(`${url}/healthz`).then(
      response => response.ok,
      () => false,
    )
  if (!(await waitUntil(isUp, 30_000))) throw new Error(`it did not start: ${readFileSync(options.logPath, 'utf8')}`)
  const started = undo.move()
  return {
    ...{ url, token: readFileSync(token, 'utf8').trim(), folder, pid: running.pid },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}
