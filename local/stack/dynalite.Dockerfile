# Development equipment for docker-compose: the DynamoDB API emulator. Never deployed.
FROM node:20.18.1-bookworm-slim
WORKDIR /app
COPY local/localcloud/dynalite/package.json local/localcloud/dynalite/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY local/localcloud/dynalite/server.js ./
RUN install --directory --owner node /data
USER node
