import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Case } from './dockerfile-case.ts'
import { CONFIG_CASES } from './dockerfile-config.cases.ts'
import { COPY_CASES } from './dockerfile-copy.cases.ts'
import { RUN_CASES } from './dockerfile-run.cases.ts'
import { SYNTAX_CASES } from './dockerfile-syntax.cases.ts'
import { applyLayer } from './image-files.ts'

/**
 * `node test/conformance/dockerfile-peers.ts`, as root: builds the table with Debian's buildah and prints for each case
 * whether it gives the same. What it agrees with goes into the case's `peer`. Cases that need our API or a server are left out.
 */
const execute = promisify(execFile)
const BASE = join(import.meta.dirname, '../../infra/local/busybox-base.sh')
const STEP_MS = 120_000

const folder = mkdtempSync('/var/tmp/slipway-peers-')
const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs']
const buildah = (...args: string[]) =>
  execute('buildah', [...storage, ...args], { timeout: STEP_MS, maxBuffer: 64 * 1024 * 1024 })

async function makeBase(): Promise<void> {
  const context = join(folder, 'base')
  mkdirSync(context)
  execFileSync('sh', [BASE, join(context, 'rootfs.tar.gz')])
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  writeFileSync(join(context, 'Dockerfile'), `FROM scratch\nADD rootfs.tar.gz /\nENV ${path}\nCMD ["sh"]\n`)
  await buildah('bud', '-q', '-t', 'localhost/busybox:latest', context)
}

async function build(
  wanted: Case,
  at: string,
): Promise<{ files: Map<string, string>; config: Record<string, unknown> }> {
  const context = join(at, 'context')
  mkdirSync(context, { recursive: true })
  writeFileSync(join(context, 'Dockerfile'), wanted.dockerfile)
  if (wanted.make) execFileSync('bash', ['-ec', wanted.make], { cwd: context })
  const { args = {}, target, labels = {} } = (wanted.request ?? {}) as Pick<Given, 'args' | 'target' | 'labels'>
  const options = [
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    ...Object.entries(labels).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
    ...(target === undefined ? [] : ['--target', target]),
  ]
  const tag = `localhost/peer${at.length}:latest`
  await buildah(
    'bud',
    '-q',
    '--pull-never',
    '--isolation',
    'chroot',
    '--format',
    'docker',
    ...options,
    '-t',
    tag,
    context,
  )
  await buildah('push', '-q', tag, `dir:${join(at, 'image')}`)
  const read = (name: string) => readFileSync(join(at, 'image', name))
  const manifest = JSON.parse(read('manifest.json').toString())
  const files = new Map<string, string>()
  const hex = (digest: string) => digest.slice(digest.indexOf(':') + 1)
  for (const { digest } of manifest.layers) await applyLayer(files, read(hex(digest)))
  return { files, config: JSON.parse(read(hex(manifest.config.digest)).toString()).config }
}

interface Given {
  args: Record<string, string>
  target: string
  labels: Record<string, string>
}

function differences({ files = {}, config = {} }: Case, built: Awaited<ReturnType<typeof build>>): string[] {
  const inFiles = Object.entries(files).flatMap(([path, text]) => {
    const found = built.files.get(path) ?? '-'
    return text === 'any' || found === text ? [] : [`${path}: ${JSON.stringify(found)}, not ${JSON.stringify(text)}`]
  })
  const inConfig = Object.entries(config).flatMap(([name, value]) => {
    const { 'io.buildah.version': _own, ...labels } = (built.config.Labels ?? {}) as Record<string, string>
    const found = JSON.stringify(name === 'Labels' ? labels : (built.config[name] ?? undefined))
    return found === JSON.stringify(value) ? [] : [`${name}: ${found}, not ${JSON.stringify(value)}`]
  })
  return [...inFiles, ...inConfig]
}

const isOurs = ({ dockerfile, request = {}, error }: Case) =>
  error !== undefined || /\b(URL|GIT)\b/.test(dockerfile) || 'secrets' in request || 'ssh' in request

try {
  await makeBase()
  for (const wanted of [...SYNTAX_CASES, ...COPY_CASES, ...RUN_CASES, ...CONFIG_CASES]) {
    if (isOurs(wanted)) continue
    const at = join(folder, `case-${readdirSync(folder).length}`)
    const said = await build(wanted, at)
      .then(built => differences(wanted, built))
      .catch(error => [
        `refused: ${String(error.stderr ?? error)
          .trim()
          .split('\n')
          .at(-1)
          ?.slice(0, 150)}`,
      ])
    console.log(
      `${said.length === 0 ? 'same' : 'OTHER'}\t${wanted.name}${said.length === 0 ? '' : `\n\t${said.join('\n\t')}`}`,
    )
    rmSync(at, { recursive: true, force: true })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
