import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startDocker } from '#test/support/docker-peer.ts'
import { openFetchSources } from '#test/support/fetch-sources.ts'
import type { Case } from './dockerfile-case.ts'
import { CONFIG_CASES } from './dockerfile-config.cases.ts'
import { COPY_CASES } from './dockerfile-copy.cases.ts'
import { FAULT_CASES } from './dockerfile-faults.cases.ts'
import { IMAGE_CASES } from './dockerfile-images.cases.ts'
import { PATH_CASES } from './dockerfile-paths.cases.ts'
import { RUN_CASES } from './dockerfile-run.cases.ts'
import { SYNTAX_CASES } from './dockerfile-syntax.cases.ts'
import { WORD_CASES } from './dockerfile-words.cases.ts'
import { applyLayer } from './image-files.ts'

/**
 * `node test/conformance/dockerfile-peers.ts buildah` (or `docker`: Debian's dockerd with the BuildKit in it), as root: builds
 * the table with it and prints for each case whether it gives the same; of a faulty one, whether it is refused, too. What
 * it agrees with goes into the case's `peer`. Cases that need our API alone, and advice, are left out.
 */
const execute = promisify(execFile)
const BASE = join(import.meta.dirname, '../../infra/local/busybox-base.sh')
const STEP_MS = 120_000
const OUTPUT_LIMIT = 64 * 1024 * 1024

interface Peer extends AsyncDisposable {
  /** The same Dockerfile, as this peer can build it. */
  adapted(dockerfile: string): string
  build(context: string, tag: string, options: readonly string[]): Promise<void>
  /** The image in a folder, with `manifest.json`. */
  save(tag: string, folder: string): Promise<{ config: string; layers: string[] }>
}

function openBuildah(folder: string): Peer {
  const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs']
  const buildah = (...args: string[]) =>
    execute('buildah', [...storage, ...args], { timeout: STEP_MS, maxBuffer: OUTPUT_LIMIT })
  return {
    adapted: dockerfile => dockerfile,
    build: async (context, tag, options) => {
      const how = ['-q', '--pull-never', '--isolation', 'chroot', '--format', 'docker']
      await buildah('bud', ...how, ...options, '-t', `localhost/${tag}`, context)
    },
    save: async (tag, at) => {
      await buildah('push', '-q', `localhost/${tag}`, `dir:${at}`)
      const { config, layers } = JSON.parse(readFileSync(join(at, 'manifest.json'), 'utf8'))
      const hex = ({ digest }: { digest: string }) => digest.slice(digest.indexOf(':') + 1)
      return { config: hex(config), layers: layers.map(hex) }
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

async function openDocker(): Promise<Peer> {
  process.env.DOCKER_BUILDKIT = '1'
  const peer = await startDocker('joined')
  return {
    // It cannot export an image without a layer.
    adapted: dockerfile => dockerfile.replace(/^FROM scratch.*$/gm, '$&\nCOPY Dockerfile /of-peer'),
    build: async (context, tag, options) => void (await peer.docker('build', '-q', ...options, '-t', tag, context)),
    save: async (tag, at) => {
      mkdirSync(at)
      await peer.docker('save', '-o', join(at, 'image.tar'), tag)
      await execute('tar', ['-xf', join(at, 'image.tar'), '-C', at])
      const [image] = JSON.parse(readFileSync(join(at, 'manifest.json'), 'utf8'))
      return { config: image.Config, layers: image.Layers }
    },
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  }
}

async function makeBase(peer: Peer, folder: string): Promise<void> {
  const context = join(folder, 'base')
  mkdirSync(context)
  execFileSync('sh', [BASE, join(context, 'rootfs.tar.gz')])
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  writeFileSync(join(context, 'Dockerfile'), `FROM scratch\nADD rootfs.tar.gz /\nENV ${path}\nCMD ["sh"]\n`)
  await peer.build(context, 'busybox:latest', [])
}

interface Built {
  files: Map<string, string>
  config: Record<string, unknown>
}

async function build(peer: Peer, wanted: Case, at: string, places: Record<string, string>): Promise<Built> {
  const context = join(at, 'context')
  mkdirSync(context, { recursive: true })
  const isKept = wanted.files !== undefined || wanted.error !== undefined
  const dockerfile = isKept ? wanted.dockerfile : peer.adapted(wanted.dockerfile)
  writeFileSync(join(context, 'Dockerfile'), dockerfile)
  if (wanted.make) execFileSync('bash', ['-ec', wanted.make], { cwd: context })
  const { args = {}, target, labels = {}, secrets = {} } = (wanted.request ?? {}) as Partial<Given>
  const options = [
    ...Object.entries({ ...places, ...args }).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    ...Object.entries(secrets).flatMap(([id, value]) => ['--secret', `id=${id},src=${secretFile(at, id, value)}`]),
    ...Object.entries(labels).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
    ...(target === undefined ? [] : ['--target', target]),
  ]
  await peer.build(context, 'peer:latest', options)
  const folder = join(at, 'image')
  const saved = await peer.save('peer:latest', folder)
  const files = new Map<string, string>()
  for (const layer of saved.layers) await applyLayer(files, readFileSync(join(folder, layer)))
  return { files, config: JSON.parse(readFileSync(join(folder, saved.config), 'utf8')).config }
}

function secretFile(at: string, id: string, value: string): string {
  const path = join(at, `secret-${id}`)
  writeFileSync(path, value)
  return path
}

interface Given {
  args: Record<string, string>
  secrets: Record<string, string>
  target: string
  labels: Record<string, string>
}

function differences({ files = {}, config = {} }: Case, built: Built): string[] {
  const inFiles = Object.entries(files).flatMap(([path, text]) => {
    const found = built.files.get(path) ?? '-'
    return text === 'any' || found === text ? [] : [`${path}: ${JSON.stringify(found)}, not ${JSON.stringify(text)}`]
  })
  const inConfig = Object.entries(config).flatMap(([name, value]) => {
    const { 'io.buildah.version': _own, ...labels } = (built.config.Labels ?? {}) as Record<string, string>
    const found = JSON.stringify(name === 'Labels' ? labels : unlessEmpty(built.config[name]))
    return found === JSON.stringify(value) ? [] : [`${name}: ${found}, not ${JSON.stringify(value)}`]
  })
  return [...inFiles, ...inConfig]
}

/** Peers write lists that have nothing in them. */
const unlessEmpty = (value: unknown) => (Array.isArray(value) && value.length === 0 ? undefined : (value ?? undefined))

const isOurs = ({ request = {} }: Case) => 'ssh' in request || 'allow' in request

function refusal(error: Error & { stderr?: string }): string {
  const lines = String(error.stderr || error)
    .trim()
    .split('\n')
  return `refused: ${lines.at(-1)?.slice(0, 200)}`
}

async function verdictOn(peer: Peer, wanted: Case, at: string, places: Record<string, string>): Promise<string[]> {
  try {
    const built = await build(peer, wanted, at, places)
    return wanted.error ? ['it was built'] : differences(wanted, built)
  } catch (error) {
    const said = refusal(error as Error)
    if (wanted.error) console.log(`\t\t${said}`)
    return wanted.error ? [] : [said]
  }
}

const ALL = [
  ...[...SYNTAX_CASES, ...WORD_CASES, ...COPY_CASES, ...PATH_CASES],
  ...[...RUN_CASES, ...CONFIG_CASES, ...IMAGE_CASES, ...FAULT_CASES],
]
const folder = mkdtempSync('/var/tmp/slipway-peers-')
try {
  await using sources = await openFetchSources(join(folder, 'sources'))
  await using peer = process.argv[2] === 'docker' ? await openDocker() : openBuildah(folder)
  await makeBase(peer, folder)
  for (const wanted of ALL.filter(one => !isOurs(one) && one.name.includes(process.argv[3] ?? ''))) {
    const at = join(folder, `case-${readdirSync(folder).length}`)
    const said = await verdictOn(peer, wanted, at, { URL: sources.url, GIT: sources.gitUrl })
    console.log(`${said.length === 0 ? 'same' : 'OTHER'}\t${wanted.name}${said.map(line => `\n\t${line}`).join('')}`)
    rmSync(at, { recursive: true, force: true })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
