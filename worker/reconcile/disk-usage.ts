import type { Digest } from '#shared/digest.ts'
import type { ContainerSize, DesiredContainer } from '#shared/domain/container.ts'
import type { Usage } from '#shared/domain/host.ts'
import type { HostUsage } from '#shared/protocol/agent.ts'
import type { StoreFacts } from './plan-reclaim.ts'

/** A container's own files. */
export interface ContainerFiles {
  want: DesiredContainer
  /** What it added or changed, and what its files take on the disk, copies of the image among them. */
  writtenBytes: number
  takenBytes: number
  /** Of its image's layers, as they lie below it. */
  imageBytes: number
  logBytes: number
  isLive: boolean
}

const NONE: Usage = { count: 0, activeCount: 0, bytes: 0, reclaimableBytes: 0 }

/** What takes room on this host, as `docker system df -v` and `docker ps -s` count it. Pure. */
export function usageOf(stores: StoreFacts, containers: readonly ContainerFiles[], measuredAt: number): HostUsage {
  const { images, cachedSteps, layerBytes, spareBytes } = stores
  const sizeOf = (layers: Iterable<Digest>) => sum([...new Set(layers)].map(layer => layerBytes.get(layer) ?? 0))
  const ofImages = new Set(images.flatMap(({ layers }) => layers))
  const ofHeld = new Set(images.filter(({ isHeld }) => isHeld).flatMap(({ layers }) => layers))
  const cachedOnly = new Set(cachedSteps.flatMap(({ layer }) => (layer && !ofImages.has(layer) ? [layer] : [])))
  // Of an image of which not all could be fetched, for example.
  const unnamed = new Set(layerBytes.keys()).difference(ofImages.union(cachedOnly))
  const ofNoContainer = ofImages.difference(ofHeld)
  const counted = ofNoContainer.union(cachedOnly)
  const spare = sum([...spareBytes].map(([layer, bytes]) => (counted.has(layer) ? 0 : bytes)))
  const cacheBytes = sum(cachedSteps.map(({ bytes }) => bytes)) + sizeOf(cachedOnly)
  const live = containers.filter(({ isLive }) => isLive)
  const taken = (some: readonly ContainerFiles[]) => sum(some.map(({ takenBytes }) => takenBytes))
  const disk = {
    measuredAt,
    images: {
      count: images.length,
      activeCount: images.filter(({ isHeld }) => isHeld).length,
      bytes: sizeOf(ofImages) + sizeOf(unnamed),
      reclaimableBytes: sizeOf(ofNoContainer) + spare,
    },
    containers: {
      count: containers.length,
      activeCount: live.length,
      bytes: taken(containers),
      reclaimableBytes: taken(containers) - taken(live),
    },
    volumes: NONE, // There are none yet but in the containers' own files.
    buildCache: { count: cachedSteps.length, activeCount: 0, bytes: cacheBytes, reclaimableBytes: cacheBytes },
    logs: {
      ...{ count: containers.length, activeCount: live.length, reclaimableBytes: 0 },
      bytes: sum(containers.map(({ logBytes }) => logBytes)),
    },
  }
  const sizes = containers.map<ContainerSize>(({ want, writtenBytes, imageBytes }) => ({
    id: want.id,
    writableBytes: writtenBytes,
    virtualBytes: writtenBytes + imageBytes,
  }))
  return { disk, containers: sizes }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
