import type { Digest } from '#shared/digest.ts'
import { commandOf } from '#shared/domain/command.ts'
import { type ContainerSpec, containerSpecSchema, type RestartPolicy } from '#shared/domain/container.ts'
import type { Dependency } from '#shared/domain/container-life.ts'
import { durationMs, formatDuration } from '#shared/domain/duration.ts'
import type { ImageConfig } from '#shared/domain/image.ts'
import { type PublishedPort, parsePublishedPort } from '#shared/domain/port.ts'
import { formatImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateContainer, UpdateContainer } from '#shared/protocol/containers.ts'
import { furtherLimits, memoryBytes } from './container-limits.ts'
import { security } from './container-security.ts'
import { lifeOptionsOf, lifeSpec } from './life-spec.ts'

/** What was asked for, against the image it names, as a spec. Pure. */
export function containerSpec(
  asked: CreateContainer,
  image: { digest: Digest; config: ImageConfig },
  dependsOn?: Dependency[],
): ContainerSpec {
  if (commandOf(asked, image.config.config).length === 0) {
    throw new SlipwayError('container.command-missing', `Image ${asked.image} names no command: give one as "command".`)
  }
  // With the agents' own schema: what they could not read must not become desired state.
  return containerSpecSchema.parse({
    image: formatImageReference(parseImageReference(asked.image)),
    imageDigest: image.digest,
    entrypoint: asked.entrypoint,
    command: asked.command,
    env: envList(asked.env),
    workdir: asked.workdir,
    user: asked.user,
    hostname: asked.hostname,
    labels: asked.labels ?? {},
    ports: publishedPorts(asked.ports ?? []),
    restart: restartPolicy(asked.restart ?? 'no'),
    resources: {
      ...{ memoryBytes: memoryBytes(asked.memory), cpus: asked.cpus, pids: asked.pidsLimit },
      ...furtherLimits(asked),
    },
    isReadOnly: asked.readOnly ?? false,
    ...{ tty: asked.tty, stdin: asked.stdin, stdinOnce: asked.stdinOnce },
    security: security(asked),
    keepForMs: asked.keepFor === undefined ? undefined : durationMs(asked.keepFor),
    ...lifeSpec(asked),
    dependsOn,
  } satisfies ContainerSpec)
}

/** Pure. */
export function envList(env: CreateContainer['env']): string[] {
  return Array.isArray(env) ? env : Object.entries(env ?? {}).map(([key, value]) => `${key}=${value}`)
}

/** What an update of it changes at once, in the present run: all else begins the container anew, as the next revision. */
const LIVE_RESOURCES = ['memoryBytes', 'cpus', 'pids'] as const

/**
 * The spec after an update: what was asked for in place of what was there. The next revision where the container has to
 * begin anew for it, the same one where its limits, its restart policy or the way it ends are all that changes. Ports and
 * dependencies stay. Undefined: it is that already. Pure.
 */
export function updatedSpec(
  current: ContainerSpec,
  asked: UpdateContainer,
  image: { digest: Digest; config: ImageConfig },
): ContainerSpec | undefined {
  const { restart, resources, isReadOnly, keepForMs, ports, imageDigest: _digest, revision = 0, ...same } = current
  const { dependsOn, stopSignal: _signal, healthCheck: _check, security: confinement, ...plain } = same
  const { memoryBytes: memory, cpus, pids: pidsLimit, ...further } = resources
  const before: CreateContainer = {
    ...{ ...plain, restart: formatRestartPolicy(restart), readOnly: isReadOnly },
    ...{ memory, cpus, pidsLimit, ...further, ...confinement },
    keepFor: keepForMs === undefined ? undefined : formatDuration(keepForMs),
    ...lifeOptionsOf(current),
  }
  const merged = { ...withoutOtherWord(before, asked), ...asked, image: asked.image ?? current.image }
  const next = containerSpecSchema.parse({ ...containerSpec(merged, image, dependsOn), ports, revision })
  const old = containerSpecSchema.parse({ ...current, revision })
  // Whoever is not sure that an update was heard asks again.
  if (JSON.stringify(next) === JSON.stringify(old)) return undefined
  const isLive = JSON.stringify(withoutLive(next)) === JSON.stringify(withoutLive(old))
  return isLive ? next : { ...next, revision: revision + 1 }
}

function withoutLive({ restart, keepForMs, stopSignal, stopTimeoutMs, isAutoRemoved, ...spec }: ContainerSpec) {
  const resources = Object.entries(spec.resources).filter(([name]) => !LIVE_RESOURCES.some(live => live === name))
  return { ...spec, resources }
}

/** CPU time has two words: the one that an update names takes the other's place. */
function withoutOtherWord(before: CreateContainer, { cpus, cpuQuota, cpuPeriod }: UpdateContainer): CreateContainer {
  if (cpus !== undefined) return { ...before, cpuQuota: undefined, cpuPeriod: undefined }
  return cpuQuota !== undefined || cpuPeriod !== undefined ? { ...before, cpus: undefined } : before
}

function publishedPorts(texts: readonly string[]): PublishedPort[] {
  const ports = texts.map(parsePublishedPort)
  const seen = new Set<string>()
  for (const { protocol, hostPort } of ports) {
    const key = `${hostPort}/${protocol}`
    if (seen.has(key)) throw new SlipwayError('request.invalid', `Host port ${key} is published twice: name it once.`)
    seen.add(key)
  }
  return ports
}

export function restartPolicy(text: string): RestartPolicy {
  const [kind, count] = text.split(':')
  if (kind === 'on-failure') return { kind, maxRetries: count === undefined ? undefined : Number(count) }
  if (kind === 'always' || kind === 'unless-stopped') return { kind }
  return { kind: 'no' }
}

export function formatRestartPolicy(policy: RestartPolicy): string {
  if (policy.kind !== 'on-failure' || policy.maxRetries === undefined) return policy.kind
  return `on-failure:${policy.maxRetries}`
}
