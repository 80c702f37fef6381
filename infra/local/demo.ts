import { join } from 'node:path'
import { systemClock } from '#shared/ports/clock.ts'
import { type ApiClient, ApiError } from './api-client.ts'
import { buildBusybox, hasImage } from './base-images.ts'
import { isFree } from './boot.ts'
import { buildContext } from './builds.ts'
import { uploadFolder } from './contexts.ts'
import { waitUntil } from './processes.ts'

export interface DemoOptions {
  api: ApiClient
  port: number
  say: (line: string) => void
  print: (text: string) => void
}

interface ContainerView {
  id: string
  name: string
  image: string
  imageDigest: string
  state: string
  ports: string[]
  address: string
}

const NAME = 'hello'
const LOG_MS = 3000
const example = join(import.meta.dirname, '../../examples/hello')

/** The main job, through the HTTP API alone: context, build, container, and a page fetched over the published port. */
export async function runDemo(options: DemoOptions): Promise<{ url: string; page: string }> {
  const { api, say, print } = options
  if (!(await hasImage(api, 'busybox:latest'))) {
    say("building the base image busybox:latest from Debian's busybox-static")
    await buildBusybox(api, print)
  }
  say('uploading examples/hello and building it as hello:latest')
  const build = await buildContext(api, { context: await uploadFolder(api, example), tags: ['hello:latest'] }, print)
  const container = await runHello(options, build.imageDigest ?? '')
  const url = `http://127.0.0.1:${hostPortOf(container)}/`
  say(`fetching ${url}`)
  return { url, page: await fetchPage(url) }
}

/** The container of an earlier start is kept when it runs this very image; otherwise it is replaced. */
async function runHello(options: DemoOptions, imageDigest: string): Promise<ContainerView> {
  const { api, say, port } = options
  const path = `/v1/containers/${NAME}`
  const old = await findContainer(api, path)
  if (old?.imageDigest === imageDigest) {
    if (old.state === 'running') {
      say(`container ${NAME} still runs since an earlier start`)
      return old
    }
    say(`starting container ${NAME} again`)
    return api.call('POST', `${path}/start?wait=running`, {})
  }
  if (old) await api.call('DELETE', `${path}?force=true&wait=removed`)
  if (!(await isFree(port, '0.0.0.0'))) {
    throw new Error(`Port ${port} is taken on this machine. Choose another for the example with SLIPWAY_DEMO_PORT=….`)
  }
  say(`running hello:latest with port ${port} published`)
  return api.call('POST', '/v1/containers?wait=running', {
    image: 'hello:latest',
    name: NAME,
    ports: [`${port}:8080`],
    restart: 'unless-stopped',
  })
}

async function findContainer(api: ApiClient, path: string): Promise<ContainerView | undefined> {
  try {
    return await api.call('GET', path)
  } catch (error) {
    if (error instanceof ApiError && error.problem.code === 'container.not-found') return undefined
    throw error
  }
}

function hostPortOf(container: ContainerView): string {
  const [published = ''] = container.ports
  return published.split(':').at(-2) ?? ''
}

/** A container that runs may not listen yet, so a refused connection is tried again for ten seconds. */
async function fetchPage(url: string): Promise<string> {
  const deadline = systemClock.now() + 10_000
  for (;;) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(2000) })
      return await response.text()
    } catch (error) {
      if (systemClock.now() > deadline) throw new Error(`${url} did not answer within 10 s.`, { cause: error })
      await systemClock.sleep(50)
    }
  }
}

/** What runs, as a table for people. */
export async function containerTable(api: ApiClient): Promise<string> {
  const { items } = await api.call<{ items: ContainerView[] }>('GET', '/v1/containers')
  const rows = [
    ['NAME', 'IMAGE', 'STATE', 'ADDRESS', 'PORTS'],
    ...items.map(item => [item.name, item.image, item.state, item.address, item.ports.join(', ')]),
  ]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? []
  return rows
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Its last lines; a line may come a moment after the request that it tells of, so an empty log is read again. */
export async function containerLogs(api: ApiClient): Promise<string> {
  let text = ''
  const read = async () => {
    for await (const piece of api.text(`/v1/containers/${NAME}/logs?tail=20`)) text += piece
    return text !== ''
  }
  await waitUntil(read, LOG_MS)
  return text.trimEnd()
}
