import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { buildDebian } from '#infra/local/base-images.ts'
import { type SentContext, uploadChanges } from '#infra/local/context-changes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import { startDocker } from '#test/support/docker-peer.ts'
import { bootForTest } from '#test/support/slipway.ts'
import { unmountBelow } from '#worker/host/mount.ts'

const execute = promisify(execFile)
const OUTPUT_LIMIT = 64 * 1024 ** 2
const LOG_LENGTH = 2000
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Builds a folder with a Dockerfile; has the image `debian:12` at hand. */
export interface ImageBuilder {
  name: string
  build(folder: string): Promise<void>
}

export type OwnedBuilder = ImageBuilder & AsyncDisposable

/** As a user does it: what changed in the context packed and uploaded, the build asked for, until its image is published. */
export async function slipwayBuilder(rootfsTarGz: string): Promise<OwnedBuilder> {
  const slipway = await bootForTest('buildbch')
  const { api } = slipway
  try {
    await buildDebian(api, rootfsTarGz, () => {})
  } catch (error) {
    await slipway.remove()
    throw error
  }
  let sent: { folder: string; context: SentContext } | undefined
  return {
    name: 'slipway',
    build: async context => {
      sent = {
        folder: context,
        context: await uploadChanges(api, context, sent?.folder === context ? sent.context : undefined),
      }
      const body = { context: sent.context.ids, tags: ['bench/built:latest'] }
      const build = await api.call<BuildView>('POST', '/v1/builds?wait=finished&timeout=300', body)
      if (build.state === 'succeeded') return
      let log = ''
      for await (const piece of api.text(`/v1/builds/${build.id}/logs`)) log += piece
      throw new Error(`the build ${build.state}: ${build.error?.message}\n${log.slice(-LOG_LENGTH)}`)
    },
    [Symbol.asyncDispose]: async () => {
      const left = await slipway.remove()
      if (left.length > 0) throw new Error(`Left behind: ${left.join(', ')}`)
    },
  }
}

/** Debian's dockerd with its classic builder, and with the BuildKit that is in it. */
export async function dockerBuilders(rootfsTarGz: string): Promise<AsyncDisposable & { all: ImageBuilder[] }> {
  const peer = await startDocker('joined')
  await peer.docker('import', '--change', `ENV ${PATH}`, rootfsTarGz, 'debian:12')
  const builder = (name: string, isBuildKit: boolean): ImageBuilder => ({
    name,
    build: async folder => {
      process.env.DOCKER_BUILDKIT = isBuildKit ? '1' : '0'
      await peer.docker('build', '-q', '-t', `bench:${isBuildKit ? 'buildkit' : 'classic'}`, folder)
    },
  })
  return {
    all: [builder('docker build', false), builder('BuildKit', true)],
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  }
}

/** As many stages at once as we do. Steps share this machine's network, which spares it a namespace. */
export async function buildahBuilder(folder: string, rootfsTarGz: string): Promise<OwnedBuilder> {
  const root = join(folder, 'buildah')
  const settings = join(folder, 'containers.conf')
  await writeFile(settings, '[containers]\ndefault_ulimits = []\n') // layers-runners.ts says why.
  const options = { maxBuffer: OUTPUT_LIMIT, env: { ...process.env, CONTAINERS_CONF: settings } }
  const own = ['--root', root, '--runroot', join(folder, 'buildah-run'), '--storage-driver=overlay']
  const build = (context: string, tag: string) => {
    const how = ['-q', '--layers', '--pull-never', '--network=host', '--jobs=10']
    return execute('buildah', [...own, 'bud', ...how, '-t', `localhost/${tag}`, context], options)
  }
  const base = join(folder, 'base')
  await mkdir(base)
  await execute('cp', [rootfsTarGz, join(base, 'rootfs.tar.gz')])
  await writeFile(join(base, 'Dockerfile'), `FROM scratch\nADD rootfs.tar.gz /\nENV ${PATH}\nCMD ["bash"]\n`)
  await build(base, 'debian:12')
  return {
    name: 'buildah',
    build: async context => void (await build(context, 'bench:latest')),
    [Symbol.asyncDispose]: () => unmountBelow(root), // It mounts its folder of layers upon itself.
  }
}
